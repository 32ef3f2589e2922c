//! The `veza-dr` program.

fn main() -> veza_dr_cli::Exit {
    veza_dr_cli::run(std::env::args_os(), veza_dr_cli::Io::process())
}
