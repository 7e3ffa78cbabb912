//! Makes, at build time, the two kinds of tables that the tokenizer compiles in: the vocabularies, packed from those
//! that the `tiktoken-rs` crate carries, and the class of every character, from the tables of `regex-syntax`, which are
//! those that tiktoken's own regular expressions use. So the repository holds neither, and nothing is downloaded later.

mod classes;
mod vocabulary;

use std::{env, error::Error, fs, io::Write as _, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    writeln!(std::io::stdout(), "cargo::rerun-if-changed=build")?;
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    for (name, packed) in vocabulary::all()? {
        fs::write(out.join(name), packed)?;
    }
    fs::write(out.join("classes.rs"), classes::source()?)?;
    Ok(())
}
