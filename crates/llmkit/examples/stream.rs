//! A completion event by event, offline, with a scripted pause between the tokens.

use std::io::Write;
use std::sync::Arc;

use futures_util::StreamExt;
use llmkit::{ClientBuilder, CompletionRequest, Message, SimConfig, SimProvider, StreamEvent};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let sim = SimProvider::new("sim", SimConfig::default());
    let client = ClientBuilder::new().with_provider(Arc::new(sim)).build()?;
    let request = CompletionRequest::new("sim?tokens=20&gap=30ms", vec![Message::user("Tell me a story.")]);
    let mut events = client.stream(request).await?;
    while let Some(event) = events.next().await {
        match event? {
            StreamEvent::Text { text, .. } => {
                print!("{text}");
                std::io::stdout().flush()?;
            }
            StreamEvent::Usage(usage) => println!("\n{usage:?}"),
            _ => {}
        }
    }
    Ok(())
}
