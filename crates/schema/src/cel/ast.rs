//! Expressions.

/// An expression, and where it begins.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Expr {
    /// The byte of the source.
    pub(crate) at: usize,
    pub(crate) node: Node,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Node {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(String),
    Bytes(Vec<u8>),
    Name(String),
    /// A field; the flag makes it optional (`.?`).
    Select(Box<Expr>, String, bool),
    /// `has(a.b)`.
    Has(Box<Expr>, String),
    /// An index; the flag makes it optional (`[?]`).
    Index(Box<Expr>, Box<Expr>, bool),
    /// A call; with a receiver for members.
    Call(Option<Box<Expr>>, String, Vec<Expr>),
    Not(Box<Expr>),
    Negate(Box<Expr>),
    Binary(Binary, Box<Expr>, Box<Expr>),
    Ternary(Box<Expr>, Box<Expr>, Box<Expr>),
    /// Items; those with the flag are left out when they are none.
    List(Vec<(Expr, bool)>),
    Map(Vec<(Expr, Expr, bool)>),
    /// A typed object: `Object.spec{replicas: 1}`.
    Object(String, Vec<(String, Expr, bool)>),
    Loop(Box<Loop>),
    /// `cel.bind(name, value, in)`.
    Bind(String, Box<Expr>, Box<Expr>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Binary {
    Or,
    And,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
}

/// A macro over the items of a list or the keys of a map.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Loop {
    pub(crate) kind: LoopKind,
    pub(crate) over: Expr,
    /// One name, or key and value.
    pub(crate) names: Vec<String>,
    /// Which items; only for those that map and filter.
    pub(crate) filter: Option<Expr>,
    pub(crate) body: Expr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LoopKind {
    All,
    Exists,
    ExistsOne,
    Map,
    Filter,
    TransformMap,
    TransformMapEntry,
}
