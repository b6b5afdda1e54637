//! Repository chores: `cargo xtask COMMAND`.

mod bench;
mod ci;
mod features;
mod fuzz;
mod grafana;
mod layers;
mod loom;
mod markdown;
mod process;
mod setup;
mod stopwatch;
mod test;
mod tidy;
mod workspace;

use std::process::ExitCode;

/// What a chore comes back with; the message is for the person who ran it.
type Outcome<T = ()> = Result<T, String>;

const HELP: &str = "\
usage: cargo xtask COMMAND

  setup                    install what the tests and the benches need; skips what is there
  test                     set-up, then every check and every test
  ci                       what a forge checks before `test`: the lock files fit the manifests
  layers                   crates depend only on layers below their own
  tidy                     source headers, README's crate table, the plot, features, licences and bans
  features                 each feature combination compiles alone, without warnings
  dist                     target/dist/llmkit, the gateway as it is shipped: built by what ran under load (twelve minutes)
  grafana [--check]        make the dashboard from the list of series, or see whether it is made from it
  loom                     the models of the atomic protocols
  fuzz [--seconds N] [TARGET…]
                           each fuzz target, or those named, for N seconds (default 60)
  fuzz --check             each fuzz target for 30 seconds, one a core, as `test` does
  bench [ARGS…]            the criterion benches; ARGS go to `cargo bench`
  bench limits             limits beside governor's, as one table of ratios
  bench breaker            the breaker beside others, as one table of ratios
  bench dedup              sharing beside others, as one table of ratios
  bench router             the router beside tower's balancer, as one table of ratios
  bench check [--bless]    instructions of the hot paths beside those on record, or put these on record (valgrind)
  bench telemetry          what telemetry costs: instructions and CPU a request, beside a build without it
  bench gateway [--dist] [--quick] [--only TEXT]
                           the gateway beside nginx and the bare floor, as one table; with TEXT the loads of that title,
                           with --dist the gateway that `dist` has made
  bench flame              docs/flamegraph.svg anew: where the gateway's CPU time goes, by perf and inferno
  bench plot               docs/benchmarks.svg anew, from the table in docs/benchmarks.md
  bench soak [--minutes N] mixed load on the gateway for N minutes (default 10): whether its memory has a plateau
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match command(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("\nxtask: {why}");
            ExitCode::FAILURE
        }
    }
}

fn command(words: &[&str]) -> Outcome {
    match words {
        ["setup"] => setup::run(setup::Need::Everything).map(drop),
        ["test"] => test::run(),
        ["ci"] => ci::run(),
        ["layers"] => layers::run(),
        ["tidy"] => tidy::run(),
        ["features"] => features::run(),
        ["dist"] => bench::dist(),
        ["grafana"] => grafana::run(grafana::Act::Write),
        ["grafana", "--check"] => grafana::run(grafana::Act::Check),
        ["loom"] => loom::run(),
        ["fuzz", "--check"] => fuzz::check(),
        ["fuzz", rest @ ..] => fuzz::run(rest),
        ["bench", "gateway", rest @ ..] => bench::gateway(bench::Choice::read(rest)?),
        ["bench", "check"] => bench::check(bench::Act::Compare),
        ["bench", "check", "--bless"] => bench::check(bench::Act::Bless),
        ["bench", "check", rest @ ..] => Err(format!("`bench check` does not know `{}`\n\n{HELP}", rest.join(" "))),
        ["bench", "flame"] => bench::flame(),
        ["bench", "plot"] => bench::plot(),
        ["bench", "soak"] => bench::soak(bench::MINUTES),
        ["bench", "soak", "--minutes", number] => match number.parse() {
            Ok(minutes) if minutes > 0 => bench::soak(minutes),
            _ => Err("`bench soak --minutes` takes a whole number above 0".to_owned()),
        },
        ["bench", "soak", rest @ ..] => Err(format!("`bench soak` does not know `{}`\n\n{HELP}", rest.join(" "))),
        ["bench", "telemetry"] => bench::telemetry(),
        ["bench", table @ ("limits" | "breaker" | "dedup" | "router")] => bench::table(table),
        ["bench", rest @ ..] => bench::criterion(rest),
        ["help" | "--help" | "-h"] => {
            print!("{HELP}");
            Ok(())
        }
        [] => Err(format!("no command\n\n{HELP}")),
        [unknown, ..] => Err(format!("no such command, or not with these arguments: `{unknown}`\n\n{HELP}")),
    }
}
