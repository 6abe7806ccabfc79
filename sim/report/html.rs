//! The timeline of a run as one page that needs nothing else: hosts from top to bottom, simulated time from
//! left to right; hover for the words, drag or scroll to move, ctrl and scroll to zoom.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use crate::trace::{Class, Happening};

/// Lines of overlapping bars that a host gets at the most.
const LANES: usize = 12;

/// The page.
pub fn timeline(head: &str, happenings: &[Happening], simulated: Duration) -> String {
    let mut hosts: BTreeMap<&str, Vec<&Happening>> = BTreeMap::new();
    for happening in happenings {
        hosts.entry(&happening.host).or_default().push(happening);
    }
    let mut rows = String::new();
    let mut top = 20;
    for (host, mut bars) in hosts {
        bars.sort_by_key(|bar| bar.begin);
        let mut lanes = [Duration::ZERO; LANES];
        let mut used = 1;
        let mut drawn = String::new();
        for bar in bars {
            let lane = lanes
                .iter()
                .position(|free| *free <= bar.begin)
                .unwrap_or(LANES - 1);
            lanes[lane] = bar.end + Duration::from_millis(1);
            used = used.max(lane + 1);
            draw(&mut drawn, bar, top + lane * 14);
        }
        // Writing to a string can't fail.
        let _ = write!(
            rows,
            "<text class=host x=4 y={}>{}</text>{drawn}",
            top + 10,
            escape(host)
        );
        top += used * 14 + 14;
    }
    let width = simulated.as_millis().max(1);
    PAGE.replace("HEAD", &escape(head))
        .replace("ROWS", &rows)
        .replace("HEIGHT", &(top + 20).to_string())
        .replace("WIDTH", &width.to_string())
}

fn draw(out: &mut String, bar: &Happening, y: usize) {
    let class = match bar.class {
        Class::Operation => "op",
        Class::Message => "msg",
        Class::Fault => "fault",
        Class::Life => "life",
    };
    let failed = if bar.failed { " bad" } else { "" };
    let begin = bar.begin.as_micros() as f64 / 1000.0;
    let len = (bar.end - bar.begin).as_micros() as f64 / 1000.0;
    let _ = write!(
        out,
        "<rect class='bar {class}{failed}' data-x={begin} data-w={len} y={y} height=11><title>{:.6} to {:.6} s\n{}</title></rect>",
        begin / 1000.0,
        (begin + len) / 1000.0,
        escape(&bar.text),
    );
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

const PAGE: &str = r#"<!doctype html>
<meta charset=utf-8><title>A simulated run</title>
<style>
body { font: 13px sans-serif; margin: 12px; background: #fff; color: #222 }
pre { background: #f4f4f4; padding: 8px; white-space: pre-wrap }
#box { overflow-x: scroll; border: 1px solid #ccc }
.host { font-weight: bold; font-size: 11px }
.op { fill: #5b8def } .msg { fill: #58b368 } .fault { fill: #e0a030 } .life { fill: #8a63c9 } .bad { stroke: #c22; stroke-width: 1.5 }
.legend span { padding: 1px 8px; margin-right: 8px; color: #fff }
</style>
<pre>HEAD</pre>
<p class=legend><span style="background:#5b8def">operation</span><span style="background:#58b368">message</span><span style="background:#e0a030">fault</span><span style="background:#8a63c9">mount</span> red edge: failed. Ctrl and wheel zoom.</p>
<div id=box><svg id=svg height=HEIGHT>ROWS</svg></div>
<script>
const svg = document.getElementById('svg'), box = document.getElementById('box');
let scale = Math.max(0.02, (box.clientWidth - 120) / WIDTH);
function lay() {
  svg.setAttribute('width', 110 + WIDTH * scale);
  for (const bar of svg.querySelectorAll('.bar')) {
    bar.setAttribute('x', 100 + bar.dataset.x * scale);
    bar.setAttribute('width', Math.max(2, bar.dataset.w * scale));
  }
}
box.addEventListener('wheel', event => {
  if (!event.ctrlKey) return;
  event.preventDefault();
  const at = (box.scrollLeft + event.offsetX - 100) / scale;
  scale *= event.deltaY < 0 ? 1.25 : 0.8;
  lay();
  box.scrollLeft += (at * scale + 100) - (box.scrollLeft + event.offsetX);
}, { passive: false });
lay();
</script>
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_every_host_and_no_raw_markup() {
        let happening = |host: &str, text: &str| Happening {
            class: Class::Operation,
            host: host.to_owned(),
            begin: Duration::from_millis(1),
            end: Duration::from_millis(5),
            text: text.to_owned(),
            failed: true,
        };
        let page = timeline(
            "seed 1",
            &[happening("a", "<b>"), happening("b", "x")],
            Duration::from_secs(1),
        );
        assert!(page.contains("&lt;b&gt;") && !page.contains("<b>"));
        assert!(
            page.contains(">a</text>") && page.contains(">b</text>") && page.contains("op bad")
        );
    }
}
