//! How pages look: light and dark as the reader's system is, black on white on paper.

use std::sync::LazyLock;

use sha2::{Digest, Sha256};

/// Colours and what reports and the dashboard share. Text has a contrast of at least 4.5 to 1, lines of charts of 3.
pub(crate) const STYLE: &str = r":root{color-scheme:light dark;--bg:#fff;--panel:#f5f6f8;--fg:#1a1d21;--muted:#50575f;--line:#c4c9d1;--link:#0b4f99;
--good:#0f5c33;--good-bg:#dff3e7;--good-bar:#2c8655;--bad:#98141a;--bad-bg:#fde6e6;--bad-bar:#c9353b;--unknown:#5f3f00;--unknown-bg:#ffefcf;--unknown-bar:#a06c00;--plain-bar:#68717c}
@media (prefers-color-scheme:dark){:root{--bg:#14171b;--panel:#1d2127;--fg:#e9ebee;--muted:#b0b7c1;--line:#414954;--link:#92bdf2;
--good:#8be0ad;--good-bg:#12351f;--good-bar:#4cae78;--bad:#ffa8a8;--bad-bg:#471b1d;--bad-bar:#e8696e;--unknown:#f5cd82;--unknown-bg:#3d2c0a;--unknown-bar:#cf9a35;--plain-bar:#97a0ac}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0 auto;padding:1rem 1.25rem 3rem;max-width:72rem;background:var(--bg);color:var(--fg);font:1rem/1.5 system-ui,-apple-system,'Segoe UI',Roboto,'Noto Sans',sans-serif}
h1{font-size:1.7rem;line-height:1.2;margin:.9rem 0 .6rem}
h2{font-size:1.25rem;margin:2.2rem 0 .6rem;padding-bottom:.2rem;border-bottom:1px solid var(--line)}
h3{font-size:1rem;margin:1.2rem 0 .4rem}
h1,h2,h3,p,li,dd,pre,td code,th code{overflow-wrap:anywhere}
td,th{overflow-wrap:break-word}tbody th{min-width:8rem}
a{color:var(--link)}
a:focus-visible,button:focus-visible,input:focus-visible,select:focus-visible,[tabindex]:focus-visible,summary:focus-visible{outline:3px solid var(--link);outline-offset:2px}
.skip{position:absolute;left:-999rem}.skip:focus{left:1rem;top:.5rem;background:var(--bg);padding:.4rem .8rem;z-index:1}
.heard{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}
.muted{color:var(--muted)}
.tag{display:inline-block;padding:.05rem .55rem;border-radius:.8rem;border:1px solid currentColor;font-weight:600;white-space:nowrap}
.good{color:var(--good);background:var(--good-bg)}.bad{color:var(--bad);background:var(--bad-bg)}.unknown{color:var(--unknown);background:var(--unknown-bg)}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(11rem,1fr));gap:.75rem;margin:.8rem 0;padding:0;list-style:none}
.figures li{background:var(--panel);border:1px solid var(--line);border-radius:.5rem;padding:.6rem .8rem}
.figures .label{display:block;color:var(--muted);font-size:.9rem}.figures .value{display:block;font-size:1.3rem;font-weight:650}
.figures .value .tag{font-size:1.1rem}.figures .detail{display:block;font-size:.9rem;color:var(--muted)}
dl{display:grid;grid-template-columns:minmax(9rem,17rem) 1fr;gap:.25rem 1rem;margin:.6rem 0}
dt{color:var(--muted)}dd{margin:0}
.scroll{overflow-x:auto;margin:.6rem 0 1rem}
table{border-collapse:collapse;width:100%;font-size:.94rem}
caption{text-align:left;font-weight:600;padding:.3rem 0}
th,td{text-align:left;vertical-align:top;padding:.35rem .6rem;border-bottom:1px solid var(--line)}
thead th{background:var(--panel);border-bottom:2px solid var(--line)}
tbody th{font-weight:600}
td{min-width:4.5rem}
.number{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
code,pre{font:.86rem/1.45 ui-monospace,SFMono-Regular,Menlo,Consolas,'Liberation Mono',monospace}
pre{background:var(--panel);border:1px solid var(--line);border-radius:.4rem;padding:.7rem;white-space:pre-wrap}
svg{display:block;width:100%;min-width:40rem;height:auto;font:12px system-ui,-apple-system,'Segoe UI',Roboto,'Noto Sans',sans-serif}
svg rect{shape-rendering:crispEdges}svg text{fill:var(--fg)}svg .faint{fill:var(--muted)}
svg .axis{stroke:var(--line);stroke-width:1}svg .mark{stroke:var(--link);stroke-width:1.5;stroke-dasharray:4 3}
svg .bar-good{fill:var(--good-bar)}svg .bar-bad{fill:var(--bad-bar)}svg .bar-unknown{fill:var(--unknown-bar)}svg .bar-plain{fill:var(--plain-bar)}
";

/// What only a report has.
const REPORT: &str = r".draft{border:2px dashed var(--unknown);padding:.5rem .8rem}
nav ol{columns:16rem;padding-left:1.4rem;margin:.4rem 0}
footer{margin-top:3rem;border-top:1px solid var(--line);padding-top:.6rem;font-size:.9rem;color:var(--muted)}
@media (max-width:36rem){dl{grid-template-columns:1fr;gap:0}dt{margin-top:.5rem}h1{font-size:1.4rem}}
@page{margin:16mm 14mm}
@media print{:root{color-scheme:light;--bg:#fff;--panel:#fff;--fg:#000;--muted:#333;--line:#999;--link:#000;--good:#0f5c33;--good-bg:#fff;--good-bar:#2c8655;--bad:#98141a;--bad-bg:#fff;--bad-bar:#c9353b;--unknown:#5f3f00;--unknown-bg:#fff;--unknown-bar:#a06c00;--plain-bar:#68717c}
body{max-width:none;padding:0;font-size:10pt}nav,.skip{display:none}
h2,h3,caption{break-after:avoid}tr,.figures li,svg,dl{break-inside:avoid}
.scroll{overflow:visible}svg{min-width:0}table{font-size:8.5pt}td,tbody th{min-width:0}td{overflow-wrap:anywhere}pre,code{font-size:7.5pt}
.bar-good,.bar-bad,.bar-unknown,.bar-plain{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
";

/// The style of a report, whole.
pub(super) static REPORT_STYLE: LazyLock<String> = LazyLock::new(|| format!("{STYLE}{REPORT}"));

/// What a browser must be told to use that style and nothing else, wherever the page comes from.
pub(super) static REPORT_POLICY: LazyLock<String> = LazyLock::new(|| {
    format!("default-src 'none'; style-src {}; base-uri 'none'; form-action 'none'", source(&REPORT_STYLE))
});

/// A style as a policy names it.
pub(crate) fn source(style: &str) -> String {
    format!("'sha256-{}'", base64(&Sha256::digest(style.as_bytes())))
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for group in bytes.chunks(3) {
        let at = |n: usize| u32::from(group.get(n).copied().unwrap_or_default());
        let all = at(0) << 16 | at(1) << 8 | at(2);
        for n in 0..4usize {
            let digit = (all >> (18 - 6 * n)) & 63;
            out.push(if n <= group.len() { char::from(DIGITS[digit as usize]) } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_standard() {
        for (plain, coded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }

    #[test]
    fn nothing_is_fetched_from_elsewhere() {
        assert!(!REPORT_STYLE.contains("url(") && !REPORT_STYLE.contains("@import") && !REPORT_STYLE.contains("</"));
    }
}
