//! What a URL's query asks for.

use meta::{
    ApiError, DeleteOptions, FieldSelector, FieldValidation, LabelSelector, ListOptions, Preconditions, Propagation,
    ResourceVersionMatch, WatchOptions, WriteOptions,
};
use serde_json::Value;

use crate::options::{self, Writing};

/// The parameters of a query.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn parse(query: Option<&str>) -> Self {
        Self(url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()).into_owned().collect())
    }

    /// The first value of a parameter.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// Every value of a parameter.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// Whether a parameter is on, as upstream reads booleans.
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| !matches!(value, "0" | "false" | "False" | "FALSE"))
    }

    fn text(&self, name: &str) -> String {
        self.get(name).unwrap_or_default().to_owned()
    }

    pub(crate) fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, ApiError> {
        let Some(text) = self.get(name).filter(|text| !text.is_empty()) else { return Ok(None) };
        let error = || ApiError::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax"));
        text.parse().map(Some).map_err(|_| error())
    }

    fn selectors(&self) -> Result<(LabelSelector, FieldSelector), ApiError> {
        let labels = LabelSelector::parse(&self.text("labelSelector"));
        let fields = FieldSelector::parse(&self.text("fieldSelector"));
        let labels = labels.map_err(|error| ApiError::bad_request(error.to_string()))?;
        // Compat: a number that can't be read is refused, also where it means nothing.
        self.number::<i64>("timeoutSeconds")?;
        Ok((labels, fields.map_err(|error| ApiError::bad_request(error.to_string()))?))
    }

    /// The field selector, as far as rules ask for it.
    pub(crate) fn fields(&self) -> Option<FieldSelector> {
        FieldSelector::parse(self.get("fieldSelector")?).ok()
    }

    fn version_match(&self) -> Option<ResourceVersionMatch> {
        match self.get("resourceVersionMatch") {
            Some("Exact") => Some(ResourceVersionMatch::Exact),
            Some("NotOlderThan") => Some(ResourceVersionMatch::NotOlderThan),
            _ => None,
        }
    }

    pub(crate) fn list(&self) -> Result<ListOptions, ApiError> {
        let (labels, fields) = self.selectors()?;
        let limit = self.number::<i64>("limit")?.unwrap_or(0);
        options::check_list(self)?;
        Ok(ListOptions {
            labels,
            fields,
            limit: u64::try_from(limit).unwrap_or(0),
            continue_token: self.text("continue"),
            resource_version: self.text("resourceVersion"),
            resource_version_match: self.version_match(),
        })
    }

    pub(crate) fn watch(&self, name: Option<String>) -> Result<WatchOptions, ApiError> {
        let (labels, fields) = self.selectors()?;
        options::check_watch(self)?;
        Ok(WatchOptions {
            labels,
            fields,
            resource_version: self.text("resourceVersion"),
            resource_version_match: self.version_match(),
            bookmarks: self.flag("allowWatchBookmarks"),
            send_initial_events: self.get("sendInitialEvents").map(|_| self.flag("sendInitialEvents")),
            name,
        })
    }

    pub(crate) fn write(&self, agent: &str, writing: Writing) -> Result<WriteOptions, ApiError> {
        options::check_write(self, writing)?;
        let field_validation = match self.get("fieldValidation") {
            Some("Ignore") => FieldValidation::Ignore,
            Some("Strict") => FieldValidation::Strict,
            _ => FieldValidation::Warn,
        };
        // Compat: without a name of its own, a manager is called after its program.
        let program = agent.split('/').next().unwrap_or_default();
        let field_manager = self.get("fieldManager").filter(|name| !name.is_empty()).unwrap_or(program).to_owned();
        let dry_run = self.all("dryRun").any(|value| value == "All");
        Ok(WriteOptions { dry_run, field_manager, field_validation, force: self.flag("force") })
    }

    /// How to delete: what the body says, and where it says nothing the query.
    pub(crate) fn delete(&self, body: &Value) -> Result<DeleteOptions, ApiError> {
        let text = |name: &str| body.get(name).and_then(Value::as_str).or_else(|| self.get(name));
        let grace = match body.get("gracePeriodSeconds").and_then(Value::as_i64) {
            Some(seconds) => Some(seconds),
            None => self.number("gracePeriodSeconds")?,
        };
        let orphan = body.get("orphanDependents").and_then(Value::as_bool);
        let orphan = orphan.or_else(|| self.get("orphanDependents").map(|_| self.flag("orphanDependents")));
        let policy = text("propagationPolicy").filter(|policy| !policy.is_empty());
        let in_body = body.get("dryRun").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        let dry_run: Vec<&str> = in_body.chain(self.all("dryRun")).filter(|value| !value.is_empty()).collect();
        options::check_delete(policy, orphan, &dry_run)?;
        let propagation = match (policy, orphan) {
            (Some("Orphan"), _) | (None, Some(true)) => Some(Propagation::Orphan),
            (Some("Foreground"), _) => Some(Propagation::Foreground),
            (Some(_), _) | (None, Some(false)) => Some(Propagation::Background),
            (None, None) => None,
        };
        let preconditions = body.get("preconditions").cloned().unwrap_or_default();
        Ok(DeleteOptions {
            grace_period_seconds: grace,
            preconditions: serde_json::from_value::<Option<Preconditions>>(preconditions)
                .unwrap_or_default()
                .unwrap_or_default(),
            propagation,
            dry_run: !dry_run.is_empty(),
        })
    }
}
