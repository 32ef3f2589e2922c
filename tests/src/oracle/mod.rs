//! What a database holds, read with stock tools only, and the differences between two of them.
//!
//! [`Oracle::read`] asks `pg_dump` for the schema and `psql` for everything else, so it shares no code, no driver and no
//! idea with the product. A [`DatabaseState`] is a map of facts: what has one key on both sides and not one value is a
//! difference, and so is a key on one side alone.
//!
//! | key | value |
//! |---|---|
//! | `schema/<type>/<schema>/<name>` | the entry's text in `pg_dump --schema-only` |
//! | `rows/<table>` | number and order-free hash of the rows, all columns, `ONLY` the table; a partition tree as one |
//! | `sequence/<name>` | last value and whether it was given out |
//! | `large-object/<oid>` | bytes, owner, rights, comment |
//! | `relation/…`, `index/…`, `constraint/…`, `trigger/…`, `rule/…`, `policy/…`, `extension/…` | from the catalogs |
//! | `database/…` | owner, encoding, locale, rights, settings, comment, limit |

mod queries;
mod read;
mod schema_text;
mod state;

pub use read::Oracle;
pub use state::DatabaseState;
