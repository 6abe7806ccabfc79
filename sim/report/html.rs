//! The timeline of a run as one page that needs nothing else: hosts from top to bottom, simulated time from
//! left to right. Bars with room for them have their words in them, the others under the pointer; a
//! search fades what does not have the words looked for. It opens at the failure.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use crate::trace::{Class, Happening};

/// Lines of overlapping bars that a host gets at the most.
const LANES: usize = 40;

/// The page. `wrong` is when the property was seen not to hold.
pub fn timeline(
    head: &str,
    happenings: &[Happening],
    simulated: Duration,
    wrong: Option<Duration>,
) -> String {
    let mut hosts: BTreeMap<&str, Vec<&Happening>> = BTreeMap::new();
    for happening in happenings {
        hosts.entry(&happening.host).or_default().push(happening);
    }
    let mut rows = String::new();
    // Above the first host there is the axis.
    let mut top = 30;
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
            "{drawn}<text class=host x=4 y={}>{}</text>",
            top + 10,
            escape(host)
        );
        top += used * 14 + 14;
    }
    let width = simulated.as_millis().max(1);
    let wrong = wrong.map_or("null".to_owned(), |at| at.as_millis().to_string());
    PAGE.replace("HEAD", &escape(head))
        .replace("WRONG", &wrong)
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
<html lang=en>
<meta charset=utf-8><title>A simulated run</title>
<style>
body { font: 13px sans-serif; margin: 12px; background: #fff; color: #222 }
pre { background: #f4f4f4; padding: 8px; white-space: pre-wrap; overflow-wrap: anywhere }
#box { overflow-x: scroll; border: 1px solid #ccc }
#words { min-height: 3em }
.host { font-weight: bold; font-size: 11px; stroke: #fff; stroke-width: 4; paint-order: stroke }
.label { font-size: 9px; fill: #fff; pointer-events: none }
.bar:hover { opacity: 0.6 } .faded { opacity: 0.12 }
.tick { stroke: #e4e4e4 } .time { font-size: 10px; fill: #666 } .wrong { stroke: #c22; stroke-dasharray: 4 3 }
.op { fill: #5b8def } .msg { fill: #58b368 } .fault { fill: #e0a030 } .life { fill: #8a63c9 } .bad { stroke: #c22; stroke-width: 1.5 }
.legend span { padding: 1px 8px; margin-right: 8px; color: #fff }
</style>
<pre>HEAD</pre>
<p class=legend><span style="background:#5b8def">operation</span><span style="background:#58b368">message</span><span style="background:#e0a030">fault</span><span style="background:#8a63c9">mount</span> Red edge: failed. Dashed: what must hold did not. Ctrl and wheel zoom; the words of what is pointed at stand below.</p>
<p><button id=whole>whole run</button> <button id=near>before the failure</button> <input id=find size=40 placeholder="find a path, an id, a word"> <span id=found></span></p>
<div id=box><svg id=svg height=HEIGHT><g id=axis></g>ROWS<g id=labels></g></svg></div>
<pre id=words></pre>
<script>
const svg = document.getElementById('svg'), box = document.getElementById('box');
const axis = document.getElementById('axis'), words = document.getElementById('words');
const labels = document.getElementById('labels'), find = document.getElementById('find');
const found = document.getElementById('found');
const bars = [...svg.querySelectorAll('.bar')], hosts = [...svg.querySelectorAll('.host')];
const wrong = WRONG;
let scale = Math.max(0.0005, (box.clientWidth - 150) / WIDTH);
function line(ms, name, label) {
  const x = 100 + ms * scale;
  return `<line class=${name} x1=${x} x2=${x} y1=14 y2=HEIGHT></line>` +
    (label === undefined ? '' : `<text class=time x=${x + 2} y=11>${label} s</text>`);
}
function lay() {
  svg.setAttribute('width', 150 + WIDTH * scale);
  labels.replaceChildren();
  for (const bar of bars) {
    const x = 100 + bar.dataset.x * scale, width = Math.max(2, bar.dataset.w * scale);
    bar.setAttribute('x', x);
    bar.setAttribute('width', width);
    // A letter is some 5 pixels wide.
    const room = Math.floor((width - 4) / 5);
    if (room < 6 || bar.classList.contains('faded')) continue;
    const label = document.createElementNS(svg.namespaceURI, 'text');
    label.setAttribute('class', 'label');
    label.setAttribute('x', x + 2);
    label.setAttribute('y', +bar.getAttribute('y') + 9);
    label.textContent = bar.textContent.slice(bar.textContent.indexOf('\n') + 1).slice(0, room);
    labels.append(label);
  }
  // Steps of 1, 2 or 5, at least 90 pixels apart, and not so many that drawing takes long.
  let step = 10 ** Math.floor(Math.log10(90 / scale));
  step *= [1, 2, 5, 10].find(by => step * by * scale >= 90);
  step = Math.max(step, WIDTH / 2000);
  let lines = '';
  for (let ms = 0; ms <= WIDTH; ms += step) lines += line(ms, 'tick', +(ms / 1000).toFixed(4));
  if (wrong !== null) lines += line(wrong, 'wrong');
  axis.innerHTML = lines;
}
// From so many milliseconds to so many in the whole width.
function show(from, to) {
  scale = Math.max(0.0005, (box.clientWidth - 150) / Math.max(1, to - from));
  lay();
  box.scrollLeft = from * scale;
}
const whole = () => show(0, WIDTH);
const near = () => wrong === null ? whole() : show(Math.max(0, wrong - 400), Math.min(WIDTH, wrong + 50));
document.getElementById('whole').addEventListener('click', whole);
document.getElementById('near').addEventListener('click', near);
find.addEventListener('input', () => {
  let count = 0;
  for (const bar of bars) {
    const has = bar.textContent.includes(find.value);
    bar.classList.toggle('faded', !has);
    count += has;
  }
  found.textContent = find.value === '' ? '' : count + ' of ' + bars.length;
  lay();
});
box.addEventListener('scroll', () => {
  for (const host of hosts) host.setAttribute('x', box.scrollLeft + 4);
});
svg.addEventListener('mouseover', event => {
  if (event.target.matches('.bar')) words.textContent = event.target.textContent;
});
box.addEventListener('wheel', event => {
  if (!event.ctrlKey) return;
  event.preventDefault();
  const from = event.clientX - box.getBoundingClientRect().left;
  const at = (box.scrollLeft + from - 100) / scale;
  scale *= event.deltaY < 0 ? 1.25 : 0.8;
  lay();
  box.scrollLeft = at * scale + 100 - from;
}, { passive: false });
near();
</script>
</html>
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
            Some(Duration::from_millis(4)),
        );
        assert!(page.contains("const wrong = 4;") && !page.contains("WIDTH"));
        assert!(page.contains("&lt;b&gt;") && !page.contains("<b>"));
        assert!(
            page.contains(">a</text>") && page.contains(">b</text>") && page.contains("op bad")
        );
    }
}
