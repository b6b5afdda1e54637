//! One completion, offline, from the simulated provider.

use std::sync::Arc;

use llmkit::{ClientBuilder, CompletionRequest, Message, SimConfig, SimProvider};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let sim = SimProvider::new("sim", SimConfig::default());
    let client = ClientBuilder::new().with_provider(Arc::new(sim)).build()?;
    let request = CompletionRequest::new("sim", vec![Message::user("What is 2+2?")]);
    let response = client.complete(&request).await?;
    println!("{}", response.text_content());
    println!("{:?}", response.usage);
    Ok(())
}
