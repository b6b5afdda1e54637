//! `llmkit top`: a gateway's figures in a terminal. It only asks, as the dashboard does.

mod gateway;
mod history;
mod screen;
mod words;

use std::io::IsTerminal;
use std::time::Duration;

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use self::gateway::Gateway;
use self::screen::Screen;
use crate::cli::TopArgs;
use crate::config::{Environment, Secret};

/// How often the gateway is asked.
const PERIOD: Duration = Duration::from_secs(1);

type Done = Result<(), Box<dyn std::error::Error>>;

/// Shows the gateway until the viewer has seen enough.
pub(crate) fn run(args: &TopArgs) -> Done {
    let key = args.api_key.clone().map(|key| Secret::from(key).resolve(&Environment::of_the_process())).transpose();
    let gateway = Gateway::new(&args.url, key.map_err(|error| format!("--api-key: {error}"))?.as_ref())?;
    if !std::io::stdout().is_terminal() {
        return Err("top needs a terminal to draw on; its figures are at /api/v1/overview, too".into());
    }
    let runtime = Builder::new_current_thread().enable_all().build()?;
    // From here on a panic, too, gives the terminal back as it was.
    let mut terminal = ratatui::try_init()?;
    let done = runtime.block_on(watch(gateway, Screen::new(&args.url), &mut terminal));
    ratatui::try_restore()?;
    // What may still be asked is not waited for.
    runtime.shutdown_background();
    done
}

async fn watch(gateway: Gateway, mut screen: Screen, terminal: &mut DefaultTerminal) -> Done {
    let mut events = events();
    let (mut terminate, mut hang_up) = (signal(SignalKind::terminate())?, signal(SignalKind::hangup())?);
    let (told, mut answers) = mpsc::channel(1);
    // Keys are heard while the gateway is silent.
    tokio::spawn(async move {
        let mut beat = tokio::time::interval(PERIOD);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            beat.tick().await;
            if told.send(gateway.overview().await).await.is_err() {
                break;
            }
        }
    });
    loop {
        terminal.draw(|frame| screen.draw(frame))?;
        tokio::select! {
            Some(answer) = answers.recv() => screen.hear(answer),
            event = events.recv() => match event {
                Some(Ok(Event::Key(key))) => match meaning(key) {
                    Meaning::Leave => return Ok(()),
                    Meaning::Scroll(lines) => screen.scroll(lines),
                    Meaning::Nothing => {}
                },
                // Of another size it is drawn anew.
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.into()),
                None => return Ok(()),
            },
            _ = terminate.recv() => return Ok(()),
            _ = hang_up.recv() => return Ok(()),
        }
    }
}

/// What happens at the terminal. The thread that reads it ends with the process.
fn events() -> mpsc::Receiver<std::io::Result<Event>> {
    let (told, events) = mpsc::channel(16);
    std::thread::spawn(move || {
        loop {
            let event = event::read();
            let is_last = event.is_err();
            if told.blocking_send(event).is_err() || is_last {
                break;
            }
        }
    });
    events
}

/// What a key is pressed for.
#[derive(Debug, PartialEq, Eq)]
enum Meaning {
    Leave,
    /// So many lines down in the log, or up.
    Scroll(i32),
    Nothing,
}

fn meaning(key: KeyEvent) -> Meaning {
    if key.kind == KeyEventKind::Release {
        return Meaning::Nothing;
    }
    match key.code {
        KeyCode::Char('c' | 'd') if key.modifiers.contains(KeyModifiers::CONTROL) => Meaning::Leave,
        KeyCode::Char('q') | KeyCode::Esc => Meaning::Leave,
        KeyCode::Down | KeyCode::Char('j') => Meaning::Scroll(1),
        KeyCode::Up | KeyCode::Char('k') => Meaning::Scroll(-1),
        KeyCode::PageDown => Meaning::Scroll(10),
        KeyCode::PageUp => Meaning::Scroll(-10),
        KeyCode::Home => Meaning::Scroll(i32::MIN),
        _ => Meaning::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn q_escape_and_control_c_leave() {
        let plain = |code| meaning(KeyEvent::new(code, KeyModifiers::NONE));
        assert_eq!(plain(KeyCode::Char('q')), Meaning::Leave);
        assert_eq!(plain(KeyCode::Esc), Meaning::Leave);
        assert_eq!(meaning(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)), Meaning::Leave);
        assert_eq!(plain(KeyCode::Char('c')), Meaning::Nothing);
        assert_eq!(plain(KeyCode::Down), Meaning::Scroll(1));
    }
}
