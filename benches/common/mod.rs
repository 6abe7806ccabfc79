//! What benches of whole mounts share. May import: testkit.

#![allow(dead_code, reason = "no bench needs all of it")]

use std::{
    error::Error,
    io::Read,
    path::Path,
    process::{Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

/// What goes wrong in a bench is told and ends it.
pub type Outcome<T> = Result<T, Box<dyn Error>>;

/// `git`, whatever the user's configuration says.
pub fn git(args: &[&str]) -> Command {
    let mut command = Command::new("git");
    command
        .args(args)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .stdin(Stdio::null());
    command
}

/// `git clone --depth 1` of `url` into `dir`, with further options.
pub fn shallow_clone(url: &str, dir: &Path, options: &[&str]) -> Outcome<()> {
    let status = git(&["clone", "--quiet", "--depth", "1"])
        .args(options)
        .arg(url)
        .arg(dir)
        .status()?;
    match status.success() {
        true => Ok(()),
        false => Err(format!("git clone {options:?}: {status}").into()),
    }
}

/// A whole process: how long it took, how it ended, how much it said on its standard output, which is read
/// and thrown away.
pub struct Ran {
    pub time: Duration,
    pub status: ExitStatus,
    pub bytes: usize,
}

/// Runs a command to its end.
pub fn run(command: &mut Command) -> Outcome<Ran> {
    let start = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut output = child.stdout.take().ok_or("no pipe")?;
    let mut room = vec![0; 1 << 16];
    let mut bytes = 0;
    loop {
        match output.read(&mut room)? {
            0 => break,
            n => bytes += n,
        }
    }
    let status = child.wait()?;
    Ok(Ran {
        time: start.elapsed(),
        status,
        bytes,
    })
}

/// Whether `rg` is installed; `grep -r` is taken where it isn't.
pub fn has_ripgrep() -> bool {
    let asked = Command::new("rg").arg("--version").output();
    asked.is_ok_and(|output| output.status.success())
}

/// A search of all files in `dir` for what is in none of them, so that the output costs nothing.
pub fn search(dir: &Path) -> Command {
    let (program, options) = match has_ripgrep() {
        true => ("rg", "--no-ignore"),
        false => ("grep", "-r"),
    };
    let mut command = Command::new(program);
    command.args([options, "zyzzyva"]).arg(dir);
    command
}

/// Median, least and most of a figure.
pub fn spread<R, T: Copy + PartialOrd>(runs: &[R], figure: impl Fn(&R) -> T) -> (T, T, T) {
    let mut figures: Vec<T> = runs.iter().map(figure).collect();
    figures.sort_by(|a, b| a.partial_cmp(b).expect("figures can be ordered"));
    (
        figures[figures.len() / 2],
        figures[0],
        figures[figures.len() - 1],
    )
}

/// For figures with one decimal.
#[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
pub fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// Draws ratios as an SVG: a row a group, in it a bar a series, with a line where the ratio is 1. Bars that are
/// longer than four are cut, their figure stands in them.
pub fn plot(title: &str, series: &[&str], groups: &[(String, Vec<f64>)]) -> String {
    const LEFT: f64 = 290.0;
    const UNIT: f64 = 130.0;
    const MOST: f64 = 4.0;
    const BAR: f64 = 11.0;
    const COLORS: [&str; 3] = ["#2171b5", "#fdae6b", "#74c476"];
    let bars: usize = groups.iter().map(|(_, ratios)| ratios.len()).sum();
    let height = 66.0 + bars as f64 * BAR + groups.len() as f64 * 6.0;
    let width = LEFT + MOST * UNIT + 20.0;
    let mut rows = String::new();
    let mut y = 56.0;
    for (name, ratios) in groups {
        let middle = y + ratios.len() as f64 * BAR / 2.0 + 4.0;
        rows += &format!(
            "<text x=\"{:.0}\" y=\"{middle:.1}\" text-anchor=\"end\">{name}</text>\n",
            LEFT - 8.0
        );
        for (number, ratio) in ratios.iter().enumerate() {
            let length = ratio.min(MOST) * UNIT;
            let color = COLORS[number % COLORS.len()];
            let (at, anchor) = match *ratio > MOST - 0.4 {
                true => (LEFT + length - 4.0, "end"),
                false => (LEFT + length + 4.0, "start"),
            };
            rows += &format!(
                "<rect x=\"{LEFT}\" y=\"{y:.1}\" width=\"{length:.1}\" height=\"{:.0}\" fill=\"{color}\"/>\
                 <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\" font-size=\"9\">{ratio:.2}</text>\n",
                BAR - 1.0,
                y + BAR - 2.5,
            );
            y += BAR;
        }
        y += 6.0;
    }
    let one = LEFT + UNIT;
    let mut legend = String::new();
    for (number, name) in series.iter().enumerate() {
        let x = LEFT + number as f64 * 120.0;
        let color = COLORS[number % COLORS.len()];
        legend += &format!(
            "<rect x=\"{x}\" y=\"28\" width=\"10\" height=\"10\" fill=\"{color}\"/>\
             <text x=\"{}\" y=\"37\">{name}</text>\n",
            x + 14.0
        );
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" font-family=\"sans-serif\" \
         font-size=\"11\">\n<rect width=\"{width:.0}\" height=\"{height:.0}\" fill=\"white\"/>\n\
         <text x=\"8\" y=\"18\" font-size=\"13\">{title}</text>\n{legend}{rows}\
         <line x1=\"{one}\" x2=\"{one}\" y1=\"48\" y2=\"{:.0}\" stroke=\"#c00\"/>\n</svg>\n",
        height - 8.0
    )
}
