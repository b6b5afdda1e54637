//! A browser without a window, told what to do over a pair of pipes in its own protocol.
//!
//! `cargo xtask setup` brings it, from Debian's package. Without it the tests are skipped.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

/// A browser with one page, ended by its id.
pub(crate) struct Chromium {
    child: Child,
    say: File,
    hear: BufReader<File>,
    page: String,
    last: u64,
    /// What it has told unasked.
    pub(crate) events: Vec<Value>,
    _folder: TempDir,
}

impl Chromium {
    /// One that shows an empty page; none where there is no browser and it may be missing.
    pub(crate) fn start() -> Option<Self> {
        let found =
            Command::new("chromium").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
        if !found {
            let required = std::env::var("LLMKIT_TEST_REQUIRE").is_ok_and(|value| value == "1");
            assert!(!required, "chromium is not there, and LLMKIT_TEST_REQUIRE is set");
            println!("skipped: chromium is not there; `cargo xtask setup` brings it");
            return None;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let [told, tells] = ["told", "tells"].map(|name| folder.path().join(name));
        assert!(Command::new("mkfifo").args([&told, &tells]).status().expect("mkfifo runs").success());
        // It reads commands from the descriptor 3 and writes to 4.
        let child = Command::new("sh")
            .args(["-c", "exec chromium \"$@\" 3<\"$TOLD\" 4>\"$TELLS\"", "chromium"])
            .args(["--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--no-first-run"])
            .args(["--disable-dev-shm-usage", "--disable-background-networking", "--no-proxy-server"])
            .arg(format!("--user-data-dir={}", folder.path().join("profile").display()))
            .envs([("TOLD", &told), ("TELLS", &tells)])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it was there");
        let say = OpenOptions::new().write(true).open(&told).expect("it reads");
        let hear = BufReader::new(File::open(&tells).expect("it writes"));
        let (page, events) = (String::new(), Vec::new());
        let mut browser = Self { child, say, hear, page, last: 0, events, _folder: folder };
        let target = browser.ask("Target.createTarget", json!({ "url": "about:blank" }));
        let attached = json!({ "targetId": target["targetId"], "flatten": true });
        let session = browser.ask("Target.attachToTarget", attached);
        browser.page = session["sessionId"].as_str().expect("a session").to_owned();
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.ask(&format!("{domain}.enable"), json!({}));
        }
        Some(browser)
    }

    /// Has a command carried out; what came of it.
    pub(crate) fn ask(&mut self, method: &str, params: Value) -> Value {
        self.last += 1;
        let mut command = json!({ "id": self.last, "method": method, "params": params });
        if !self.page.is_empty() {
            command["sessionId"] = self.page.as_str().into();
        }
        self.say.write_all(format!("{command}\0").as_bytes()).expect("it reads");
        loop {
            let mut message = Vec::new();
            assert!(self.hear.read_until(0, &mut message).expect("it writes") > 0, "it has ended before {method}");
            message.pop();
            let mut message: Value = serde_json::from_slice(&message).expect("JSON");
            if message["id"] == self.last {
                assert!(message.get("error").is_none(), "{method}: {message}");
                return message["result"].take();
            }
            self.events.push(message);
        }
    }

    pub(crate) fn open(&mut self, url: &str) {
        self.ask("Page.navigate", json!({ "url": url }));
    }

    /// What `script` comes to, a promise's end included.
    pub(crate) fn run(&mut self, script: &str) -> Value {
        let params = json!({ "expression": script, "awaitPromise": true, "returnByValue": true });
        let result = self.ask("Runtime.evaluate", params);
        assert!(result.get("exceptionDetails").is_none(), "{script}: {result}");
        result["result"]["value"].clone()
    }

    /// Waits until `condition` holds on the page, and gives what it came to.
    pub(crate) fn wait(&mut self, condition: &str) -> Value {
        let script = format!(
            "new Promise((done) => {{ const began = Date.now(); (function look() {{ let found; \
             try {{ found = {condition}; }} catch {{ }} \
             if (found || Date.now() - began > 30000) done(found || null); else setTimeout(look, 50); }})(); }})"
        );
        let found = self.run(&script);
        if found.is_null() {
            let text = self.run("document.body.innerText");
            panic!("{condition} does not come to hold on\n{}", text.as_str().unwrap_or_default());
        }
        found
    }

    /// Shows the page `width` pixels wide, in the theme `light` or `dark`.
    pub(crate) fn look(&mut self, width: u32, height: u32, theme: &str) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.ask("Emulation.setDeviceMetricsOverride", size);
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": theme }] });
        self.ask("Emulation.setEmulatedMedia", features);
    }

    /// A picture of the page, as PNG. It is also left in the folder that `LLMKIT_TEST_PICTURES` names, if one is.
    pub(crate) fn picture(&mut self, name: &str) -> Vec<u8> {
        use base64::Engine as _;
        let taken = self.ask("Page.captureScreenshot", json!({ "format": "png", "captureBeyondViewport": true }));
        let bytes = base64::engine::general_purpose::STANDARD.decode(taken["data"].as_str().expect("data"));
        let bytes = bytes.expect("base64");
        if let Some(folder) = std::env::var_os("LLMKIT_TEST_PICTURES") {
            std::fs::write(Path::new(&folder).join(name), &bytes).expect("the folder is there");
        }
        bytes
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
