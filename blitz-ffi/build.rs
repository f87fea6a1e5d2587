//! Gives the shared library its name for the linker, with the version of its binary interface.

/// Counts up whenever a program would have to be compiled again.
const ABI_VERSION: u32 = 1;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-env=BLITZ_ABI_VERSION={ABI_VERSION}");
    let system = std::env::var("CARGO_CFG_TARGET_OS").unwrap_or_default();
    if matches!(system.as_str(), "linux" | "android" | "freebsd" | "netbsd" | "openbsd" | "dragonfly") {
        println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libblitz.so.{ABI_VERSION}");
    }
}
