//! Requests that go out through a proxy, which this machine plays for a host that does not exist.

use llm_core::ErrorKind;
use llm_providers::{HttpConfig, HttpProvider, ProxyConfig};

use crate::upstream::{Then, Upstream, WHOLE, answer, body, config, whole};

fn through(proxy: &Upstream, base_url: &str) -> HttpProvider {
    let proxy = ProxyConfig { all: Some(format!("http://user:pass@{}", proxy.address)), ..ProxyConfig::none() };
    HttpProvider::try_new("up", HttpConfig { proxy: Some(proxy), ..config(base_url) }).unwrap()
}

/// `user:pass` in base64.
const BASIC: &str = "Basic dXNlcjpwYXNz";

#[tokio::test]
async fn a_plain_request_names_the_host_to_the_proxy() {
    let proxy = Upstream::always(whole()).await;
    assert_eq!(body(&through(&proxy, "http://models.invalid/v1")).await.unwrap(), WHOLE);
    let asked = proxy.next().await;
    assert_eq!(asked.line(), "POST http://models.invalid/v1/chat/completions HTTP/1.1");
    assert_eq!(asked.header("proxy-authorization"), [BASIC]);
    assert_eq!(asked.header("host"), ["models.invalid"]);
}

#[tokio::test]
async fn an_encrypted_request_goes_through_a_tunnel() {
    let proxy = Upstream::always(Then::Close(answer("407 Proxy Authentication Required", "", ""))).await;
    let error = body(&through(&proxy, "https://models.invalid/v1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connection);
    assert!(error.message().contains("407"), "{}", error.message());
    let asked = proxy.next().await;
    assert_eq!(asked.line(), "CONNECT models.invalid:443 HTTP/1.1");
    assert_eq!(asked.header("proxy-authorization"), [BASIC]);
    // What is meant for the provider is not shown to the proxy.
    assert_eq!(asked.header("authorization"), [""; 0]);
}

#[tokio::test]
async fn exceptions_and_this_machine_are_reached_directly() {
    let proxy = Upstream::always(whole()).await;
    let direct = Upstream::always(whole()).await;
    body(&through(&proxy, &format!("http://{}/v1", direct.address))).await.unwrap();
    assert_eq!((proxy.rest().await.len(), direct.rest().await.len()), (0, 1));
}
