//! The vocabulary that every plane shares: objects and their identity, calls on the API and their answers, selectors,
//! quantities, errors.
//!
//! Nothing here knows of HTTP, of stores or of any particular kind. Types are plain data with pure functions on them.

mod call;
mod clock;
pub mod field;
mod gvk;
pub mod names;
mod object;
mod quantity;
mod schedule;
mod selector;
mod status;
mod taint;
mod user;

pub use call::{
    Call, DeleteOptions, FieldValidation, ListOptions, ObjectList, PatchType, Preconditions, Propagation, Reply,
    ResourcePath, ResourceVersionMatch, Verb, WatchEvent, WatchKind, WatchOptions, WriteOptions,
};
pub use clock::{Clock, SystemClock, TestClock, format_micro_time, format_time, parse_time};
pub use gvk::{GroupVersion, Gvk, Gvr};
pub use object::{Metadata, Object, ObjectError, OwnerReference, encode_object};
pub use quantity::{Quantity, QuantityError};
pub use schedule::{Calendar, Schedule, ScheduleError, time_zone};
pub use selector::{FieldSelector, LabelSelector, Operator, Requirement, SelectorError};
pub use status::{ApiError, Cause, Reason, Status, StatusDetails};
pub use taint::{Taint, Toleration};
pub use user::UserInfo;
