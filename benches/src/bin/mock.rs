//! The model server of the benchmarks, alone in its process: says its address, then serves.

use std::io::Write;

use blitz_benches::{Result, mock, run};
use tokio::net::TcpListener;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    run::allow_many_files()?;
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let listener = TcpListener::bind(address).await?;
    writeln!(std::io::stdout(), "{}", listener.local_addr()?)?;
    mock::serve(listener).await
}
