//! What form the client wants an answer in.

use http::HeaderMap;
use http::header::ACCEPT;
use meta::{ApiError, Reason};

/// An encoding on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Json,
    Yaml,
    Protobuf,
}

/// What of an object is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum View {
    /// All of it.
    Whole,
    /// A table for people.
    Table,
    /// Metadata alone.
    Metadata,
}

/// Both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Form {
    pub(crate) encoding: Encoding,
    pub(crate) view: View,
    /// The version of the table or the metadata: `meta.k8s.io/v1` or `meta.k8s.io/v1beta1`.
    pub(crate) meta_version: &'static str,
}

impl Form {
    /// All of an object.
    pub(crate) fn whole(encoding: Encoding) -> Self {
        Self { encoding, view: View::Whole, meta_version: META }
    }
}

const META: &str = "meta.k8s.io/v1";

pub(crate) const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

const KNOWN: &str = "application/json, application/yaml, application/vnd.kubernetes.protobuf";

const UNROUTED: &str = "406: Not Acceptable\n\nAvailable representations: ";

impl Encoding {
    pub(crate) fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Yaml => "application/yaml",
            Self::Protobuf => PROTOBUF,
        }
    }

    fn of(media_type: &str) -> Option<Self> {
        match media_type {
            "application/json" | "*/*" | "application/*" => Some(Self::Json),
            "application/yaml" => Some(Self::Yaml),
            PROTOBUF => Some(Self::Protobuf),
            _ => None,
        }
    }
}

/// What an endpoint has to offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offer {
    /// One object of a built-in kind.
    Object,
    /// Many of them, perhaps as they change.
    Collection,
    /// Custom objects, which have no protobuf.
    Custom,
}

/// The first form that the client accepts and the server has.
pub(crate) fn form(headers: &HeaderMap, offer: Offer) -> Result<Form, ApiError> {
    let protobuf = offer != Offer::Custom;
    let accept = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect::<Vec<_>>().join(",");
    if accept.trim().is_empty() {
        return Ok(Form::whole(Encoding::Json));
    }
    accept.split(',').find_map(|choice| read(choice, protobuf)).ok_or_else(|| refusal(&accept, offer))
}

/// Compat: upstream's router refuses what it knows no encoding of, and the endpoint refuses what it can't show that way.
fn refusal(accept: &str, offer: Offer) -> ApiError {
    let routed =
        accept.split(',').any(|choice| Encoding::of(choice.split(';').next().unwrap_or_default().trim()).is_some());
    let text = match offer {
        Offer::Object if !routed => format!("{UNROUTED}{KNOWN}"),
        Offer::Collection if !routed => {
            format!("{UNROUTED}{KNOWN}, application/json;stream=watch, {PROTOBUF};stream=watch")
        }
        Offer::Object | Offer::Collection => format!("only the following media types are accepted: {KNOWN}"),
        Offer::Custom => "only the following media types are accepted: application/json, application/yaml".to_owned(),
    };
    ApiError::new(Reason::NotAcceptable, text)
}

fn read(choice: &str, protobuf: bool) -> Option<Form> {
    let mut parts = choice.split(';').map(str::trim);
    let encoding = Encoding::of(parts.next()?)?;
    if encoding == Encoding::Protobuf && !protobuf {
        return None;
    }
    let (mut view, mut group, mut version) = (None, "", "");
    for (name, value) in parts.filter_map(|part| part.split_once('=')) {
        match name.trim() {
            "as" => view = Some(value),
            "g" => group = value,
            "v" => version = value,
            _ => {}
        }
    }
    let view = match view {
        None => return Some(Form::whole(encoding)),
        Some("Table") => View::Table,
        Some("PartialObjectMetadata" | "PartialObjectMetadataList") => View::Metadata,
        Some(_) => return None,
    };
    let meta_version = match (group, version) {
        ("meta.k8s.io", "v1") => META,
        ("meta.k8s.io", "v1beta1") => "meta.k8s.io/v1beta1",
        _ => return None,
    };
    Some(Form { encoding, view, meta_version })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_form_that_both_know_wins() {
        let check = |accept: &str, protobuf: bool, expected: Option<(Encoding, View)>| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, accept.parse().expect("a header"));
            let form = form(&headers, if protobuf { Offer::Object } else { Offer::Custom })
                .ok()
                .map(|form| (form.encoding, form.view));
            assert_eq!(form, expected, "{accept}");
        };
        let kubectl = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        check(kubectl, true, Some((Encoding::Json, View::Table)));
        check("application/vnd.kubernetes.protobuf,application/json", true, Some((Encoding::Protobuf, View::Whole)));
        check("application/vnd.kubernetes.protobuf,application/json", false, Some((Encoding::Json, View::Whole)));
        check("application/vnd.kubernetes.protobuf", false, None);
        check("application/json;as=Table;v=v1beta1;g=meta.k8s.io", true, Some((Encoding::Json, View::Table)));
        check("application/json;as=Table;v=v2;g=meta.k8s.io", true, None);
        check("text/html, */*", true, Some((Encoding::Json, View::Whole)));
        check("application/json;as=Nonsense;g=meta.k8s.io;v=v1", true, None);
        check(
            "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
            true,
            Some((Encoding::Json, View::Metadata)),
        );
    }
}
