//! Reviews: kinds that are asked, never stored.

use crate::plain::resource;
use crate::resource::Resource;

/// The reviews.
pub(crate) fn all() -> Vec<Resource> {
    let review = |group, kind, plural, singular| Resource {
        namespaced: false,
        verbs: &["create"],
        ..resource(group, kind, plural, singular)
    };
    let (authentication, authorization) = ("authentication.k8s.io", "authorization.k8s.io");
    vec![
        review(authentication, "SelfSubjectReview", "selfsubjectreviews", "selfsubjectreview"),
        review(authentication, "TokenReview", "tokenreviews", "tokenreview"),
        Resource {
            namespaced: true,
            ..review(authorization, "LocalSubjectAccessReview", "localsubjectaccessreviews", "localsubjectaccessreview")
        },
        review(authorization, "SelfSubjectAccessReview", "selfsubjectaccessreviews", "selfsubjectaccessreview"),
        review(authorization, "SelfSubjectRulesReview", "selfsubjectrulesreviews", "selfsubjectrulesreview"),
        review(authorization, "SubjectAccessReview", "subjectaccessreviews", "subjectaccessreview"),
    ]
}
