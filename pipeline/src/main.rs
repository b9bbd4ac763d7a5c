//! The `redtap` binary: reads the command line, embeds the library, says what went wrong.

mod commands;
mod live;

use std::process::ExitCode;

fn main() -> ExitCode {
    match commands::main() {
        Ok(code) => code,
        Err(error) => {
            // One line a cause; never a backtrace.
            eprintln!("redtap: {error}");
            let mut said = error.to_string();
            for cause in error.chain().skip(1).map(ToString::to_string) {
                // Some messages hold their cause already.
                if !said.contains(&cause) {
                    eprintln!("  because: {cause}");
                }
                said = cause;
            }
            ExitCode::FAILURE
        }
    }
}
