//! Reading the API's objects, and the words that they are found by.

use meta::Object;
use serde_json::Value;

const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// The text at a pointer; empty if there is none.
pub(crate) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The items of a list; none where it is null.
pub(crate) fn items<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The key of the service that a slice belongs to.
pub(crate) fn service_of(slice: &Object) -> Option<String> {
    let name = slice.metadata.labels.get(SERVICE_NAME)?;
    Some(format!("{}/{name}", slice.metadata.namespace))
}

/// A service is found by its addresses.
pub(crate) fn words_of_service(service: &Object) -> Vec<String> {
    let value = service.value();
    let addresses = items(&value, "/spec/clusterIPs").iter().filter_map(Value::as_str);
    addresses.filter(|address| *address != "None").map(str::to_owned).collect()
}

/// A slice is found by its service and by the addresses in it.
pub(crate) fn words_of_slice(slice: &Object) -> Vec<String> {
    let value = slice.value();
    let addresses = items(&value, "/endpoints").iter().flat_map(|endpoint| items(endpoint, "/addresses"));
    service_of(slice).into_iter().chain(addresses.filter_map(Value::as_str).map(str::to_owned)).collect()
}
