//! Money: reserve before a call, settle after it, in the transaction that changes the execution.
