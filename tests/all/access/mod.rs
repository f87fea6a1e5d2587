//! Who may do what: logins, reach, shares, and executions whose user loses its standing.

mod acting;
mod canary;
mod credentials;
mod keys;
mod login;
mod matrix;
mod reach;
mod roles;
mod running;
mod secrets;
mod sharing;
mod tokens;
mod trail;
mod triggers;

use blitz::{Engine, NewUser, Role, Session, User, Visibility};

const PASSWORD: &str = "sk-canary long passphrase";

/// Adds a user and lets it log in.
pub(crate) async fn member(engine: &Engine, root: &Session, email: &str, role: Role) -> (User, Session) {
    let user = root.users().create(NewUser::new(email, PASSWORD).with_role(role)).await.unwrap();
    (user, engine.login(email, PASSWORD).await.unwrap())
}

/// Opens the model `m` of the host to everybody.
async fn share_model(root: &Session) {
    root.models().set_visibility("m", Visibility::Shared).await.unwrap();
}
