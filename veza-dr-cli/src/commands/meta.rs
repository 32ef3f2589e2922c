//! `veza-dr schema`, `completions` and `man`: the program about itself. Their output is the same with `--json`.

use veza_dr_core::{Error, ErrorKind, Result};

use super::Session;
use crate::{
    Exit,
    args::{Completions, command},
    config::json_schema,
};

pub(crate) fn schema(session: &Session) -> Exit {
    session.out.raw(&format!("{:#}", json_schema()));
    Exit::Ok
}

pub(crate) fn completions(session: &Session, args: &Completions) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command(), "veza-dr", &mut script);
    session.out.raw(&String::from_utf8_lossy(&script));
    Exit::Ok
}

/// One page for the whole program: each command's synopsis and options follow the common part.
pub(crate) fn man(session: &Session) -> Result<Exit> {
    let page = || -> std::io::Result<Vec<u8>> {
        let mut program = command();
        program.build();
        let mut page = Vec::new();
        clap_mangen::Man::new(program.clone()).render(&mut page)?;
        for sub in program.get_subcommands().filter(|s| s.get_name() != "help") {
            let man = clap_mangen::Man::new(sub.clone());
            let mut part = Vec::new();
            man.render_synopsis_section(&mut part)?;
            man.render_description_section(&mut part)?;
            man.render_options_section(&mut part)?;
            let text = String::from_utf8_lossy(&part).replace("\n.SH ", "\n.SS ").replacen(".SH ", ".SS ", 1);
            page.extend(format!(".SH \"VEZA\\-DR {}\"\n{text}", sub.get_name().to_uppercase()).bytes());
        }
        Ok(page)
    };
    let page = page().map_err(|e| Error::new(ErrorKind::Unexpected, "the manual cannot be made").with_source(e))?;
    session.out.raw(&String::from_utf8_lossy(&page));
    Ok(Exit::Ok)
}
