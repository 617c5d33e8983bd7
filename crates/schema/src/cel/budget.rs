//! What expressions may cost, so that none can hold up the server.
//!
//! Every step costs one, and what goes through data costs as much as there is of it. What an expression builds costs its size too, so
//! the budget bounds memory as well.

/// So much may one expression cost.
const PER_CALL: u64 = 1_000_000;

/// So much may all expressions on one object cost together.
const PER_OBJECT: u64 = 10_000_000;

/// What is left to spend.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Of the expression that runs.
    call: u64,
    /// Of all of them.
    total: u64,
}

/// Why an expression came to no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Halt {
    /// It has none, and this is why.
    Error(String),
    /// The expression cost too much.
    Call,
    /// All expressions together cost too much.
    Total,
}

impl Default for Budget {
    fn default() -> Self {
        Self { call: PER_CALL, total: PER_OBJECT }
    }
}

impl Budget {
    /// For the next expression.
    pub fn renew(&mut self) {
        self.call = PER_CALL;
    }

    /// Pays for steps.
    pub(crate) fn spend(&mut self, cost: usize) -> Result<(), Halt> {
        let cost = cost as u64;
        self.call = self.call.checked_sub(cost).ok_or(Halt::Call)?;
        self.total = self.total.checked_sub(cost).ok_or(Halt::Total)?;
        Ok(())
    }

    /// Pays for going through so many parts.
    pub(crate) fn spend_on(&mut self, parts: usize) -> Result<(), Halt> {
        self.spend(parts / 10 + 1)
    }
}

impl std::fmt::Display for Halt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Error(text) => f.write_str(text),
            Self::Call | Self::Total => f.write_str("operation cancelled: actual cost limit exceeded"),
        }
    }
}
