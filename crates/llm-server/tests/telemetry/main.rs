//! What the gateway as a process tells of itself: spans to a collector, lines in its log, series to a scraper.

#[path = "../gateway/process.rs"]
#[expect(dead_code, reason = "shared with the gateway's other tests")]
mod process;
#[path = "../gateway/wire.rs"]
#[expect(dead_code, reason = "shared with the gateway's other tests")]
mod wire;

mod collector;
mod logs;
mod scrape;
mod traces;
