//! Hands the linker the kernel's layout.
//!
//! The arguments go to this package's program only. In a global `rustflags` they would also reach
//! build scripts whenever the host's triple is the kernel's target.

use std::env;

fn main() {
    let folder = env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    let script = format!("{folder}/kernel.ld");
    println!("cargo:rerun-if-changed={script}");
    println!("cargo:rustc-link-arg-bins=-T{script}");
    // Linked at a fixed address. Said last, it overrides what the target's default asks for.
    println!("cargo:rustc-link-arg-bins=-no-pie");
    println!("cargo:rustc-link-arg-bins=-static");
    if env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        // The linker is called through the C compiler, which would add its start files. The
        // command line names the C library for `core`'s sake; nothing of it is wanted.
        println!("cargo:rustc-link-arg-bins=-nostartfiles");
        println!("cargo:rustc-link-arg-bins=-nostdlib");
        println!("cargo:rustc-link-arg-bins=-Wl,--build-id=none");
        println!("cargo:rustc-link-arg-bins=-Wl,-z,max-page-size=4096");
        println!("cargo:rustc-link-arg-bins=-Wl,-z,noexecstack");
    } else {
        println!("cargo:rustc-link-arg-bins=--build-id=none");
        println!("cargo:rustc-link-arg-bins=-zmax-page-size=4096");
    }
}
