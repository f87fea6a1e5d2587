//! Authorise and act in one transaction.
