//! Creating objects.

use std::sync::{Arc, PoisonError};

use meta::{ApiError, Object, Reply, WriteOptions};
use serde_json::{Value, json};
use store::Expect;

use super::fields::{metadata, text};
use super::name::generate;
use super::patch::Wanted;
use super::{Failure, Writer, unstored};
use crate::admission::{Operation, Request};

/// Upstream tries so many generated names.
const NAMES: usize = 8;

/// So often another address or port is chosen when somebody was faster to take one.
const CHOICES: usize = 256;

impl Writer<'_> {
    /// Makes an object.
    pub(crate) async fn create(&self, mut object: Value, options: &WriteOptions) -> Result<Reply, ApiError> {
        self.check_kind(&mut object)?;
        self.place(&mut object)?;
        self.row.rules().default(&mut object);
        self.own_fields(None, &mut object, options);
        self.create_managed(Wanted { value: object, warnings: Vec::new() }, options).await
    }

    /// Makes an object whose fields have their managers.
    pub(super) async fn create_managed(&self, wanted: Wanted, options: &WriteOptions) -> Result<Reply, ApiError> {
        let Wanted { value: object, warnings } = wanted;
        self.check_going()?;
        let attributes = self.attributes(Operation::Create, text(&object, "/metadata/name"), options.dry_run);
        let mut request = Request { warnings, ..Request::new(attributes, object, None) };
        self.fill(&mut request.object)?;
        if self.mutate(&mut request).await? {
            self.row.rules().default(&mut request.object);
        }
        let base = text(&request.object, "/metadata/generateName").to_owned();
        let generated = !base.is_empty() && text(&request.object, "/metadata/name").is_empty();
        for _ in 0..if generated { NAMES } else { 1 } {
            if generated {
                metadata(&mut request.object).insert("name".to_owned(), json!(generate(&base)));
            }
            if let Some(object) = self.create_once(&mut request, options).await? {
                request.warnings.append(request.told.get_mut().unwrap_or_else(PoisonError::into_inner));
                request.warnings.extend(self.row.rules().warnings(&request.object, None));
                return Ok(Reply::Object { object, created: true, warnings: request.warnings });
            }
        }
        let mut error = ApiError::already_exists(&self.row.gvr(), text(&request.object, "/metadata/name"));
        if generated {
            error.message.push_str(", the server was not able to generate a unique name for the object");
        }
        Err(error)
    }

    /// `None` where the name is taken.
    async fn create_once(
        &self,
        request: &mut Request<'_>,
        options: &WriteOptions,
    ) -> Result<Option<Arc<Object>>, ApiError> {
        self.row.rules().note_creator(&mut request.object, self.user);
        self.row.rules().prepare_create(&mut request.object);
        let wish = self.claims_something().then(|| request.object.clone());
        for _ in 0..CHOICES {
            match self.attempt_create(request, options).await {
                Ok(object) => return Ok(Some(object)),
                Err(Failure::Stale) => return Ok(None),
                Err(Failure::Api(error)) => return Err(error),
                Err(Failure::Taken) => wish.iter().for_each(|wish| request.object.clone_from(wish)),
            }
        }
        Err(ApiError::internal("what the object needs is taken by others all the time"))
    }

    async fn attempt_create(&self, request: &mut Request<'_>, options: &WriteOptions) -> Result<Arc<Object>, Failure> {
        let object = &mut request.object;
        let mut claims = self.claim(object, None).await?;
        let name = text(object, "/metadata/name").to_owned();
        self.validate_new(object, &name)?;
        request.attributes.name.clone_from(&name);
        self.admit(request).await?;
        self.charge_quotas(&request.object, None, &mut claims)?;
        let key = self.key(&name);
        if options.dry_run {
            let taken = self.storage.get(&key).is_some();
            return if taken { Err(Failure::Stale) } else { Ok(unstored(self, &request.object)?) };
        }
        self.put_with(key, &request.object, Expect::Absent, &claims).await
    }

    /// Nothing new is made of a resource whose definition is being deleted.
    fn check_going(&self) -> Result<(), ApiError> {
        if !self.row.custom.as_ref().is_some_and(|custom| custom.terminating) {
            return Ok(());
        }
        let text = "create not allowed while custom resource definition is terminating";
        let mut error = ApiError::method_not_supported(&self.row.gvr(), "create");
        error.message = text.to_owned();
        Err(error)
    }

    fn validate_new(&self, object: &Value, name: &str) -> Result<(), ApiError> {
        let mut errors = crate::metadata::validate(object, self.row);
        errors.extend(self.row.rules().validate(object, &self.registry.settings));
        if errors.is_empty() { Ok(()) } else { Err(ApiError::invalid(&self.row.told_kind(), name, &errors)) }
    }
}
