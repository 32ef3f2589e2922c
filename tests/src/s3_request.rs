//! Signed S3 requests without an SDK, to look at and to tamper with what the product stored.

use chrono::Utc;
use sha2::{Digest as _, Sha256};

use crate::http::{Response, request};
use crate::s3_server::S3Server;
use crate::{Result, http};

impl S3Server {
    /// Sends a request with a signature, version 4. `target` is the path (bucket and key) with an optional query, both
    /// already percent-encoded and the query's parameters in order of their names.
    pub async fn request(&self, method: &str, target: &str, body: &[u8]) -> Result<Response> {
        self.request_through(&self.address(), method, target, body).await
    }

    /// As [`request`](Self::request), but sent to another address, a proxy's. It is what the signature covers.
    pub async fn request_through(&self, address: &str, method: &str, target: &str, body: &[u8]) -> Result<Response> {
        let time = Utc::now().format("%Y%m%dT%H%M%SZ").to_string();
        let day = &time[..8];
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let body_hash = hex::encode(Sha256::digest(body));
        let names = "host;x-amz-content-sha256;x-amz-date";
        let canonical = format!(
            "{method}\n{path}\n{query}\nhost:{address}\nx-amz-content-sha256:{body_hash}\nx-amz-date:{time}\n\n{names}\n{body_hash}"
        );
        let scope = format!("{day}/{}/s3/aws4_request", self.region());
        let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hex::encode(Sha256::digest(canonical)));
        let mut key = format!("AWS4{}", self.secret_key()).into_bytes();
        for part in [day, self.region(), "s3", "aws4_request"] {
            key = hmac(&key, part.as_bytes());
        }
        let signature = hex::encode(hmac(&key, text.as_bytes()));
        let credential = format!("{}/{scope}", self.access_key());
        let authorization =
            format!("AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={names}, Signature={signature}");
        let headers = [
            ("Host", address),
            ("x-amz-content-sha256", &body_hash),
            ("x-amz-date", &time),
            ("Authorization", &authorization),
        ];
        request(address, method, target, &headers, body).await
    }

    /// Creates a bucket.
    pub async fn create_bucket(&self, name: &str) -> Result<()> {
        self.expect("PUT", &format!("/{name}"), b"").await.map(drop)
    }

    /// Stores an object, whatever was there.
    pub async fn put_object(&self, bucket: &str, key: &str, body: &[u8]) -> Result<()> {
        self.expect("PUT", &object(bucket, key), body).await.map(drop)
    }

    /// Reads an object.
    pub async fn get_object(&self, bucket: &str, key: &str) -> Result<Vec<u8>> {
        http::dechunked(&self.expect("GET", &object(bucket, key), b"").await?)
    }

    /// Deletes an object.
    pub async fn delete_object(&self, bucket: &str, key: &str) -> Result<()> {
        self.expect("DELETE", &object(bucket, key), b"").await.map(drop)
    }

    /// Flips one bit of a stored object, as a rotten disk does.
    pub async fn corrupt_object(&self, bucket: &str, key: &str, at: usize) -> Result<()> {
        let mut body = self.get_object(bucket, key).await?;
        *body.get_mut(at).ok_or("the object is shorter")? ^= 1;
        self.put_object(bucket, key, &body).await
    }

    /// The keys of a bucket that start with `prefix`, at most a thousand.
    pub async fn list_objects(&self, bucket: &str, prefix: &str) -> Result<Vec<String>> {
        let target = format!("/{bucket}?list-type=2&prefix={}", encode(prefix, false));
        let body = http::dechunked(&self.expect("GET", &target, b"").await?)?;
        let text = String::from_utf8(body)?;
        let keys = text.split("<Key>").skip(1).filter_map(|part| part.split_once("</Key>"));
        Ok(keys.map(|(key, _)| key.to_owned()).collect())
    }

    async fn expect(&self, method: &str, target: &str, body: &[u8]) -> Result<Response> {
        let answer = self.request(method, target, body).await?;
        if (200..300).contains(&answer.status) {
            return Ok(answer);
        }
        Err(format!("{method} {target}: {} {}", answer.status, String::from_utf8_lossy(&answer.body)).into())
    }
}

fn object(bucket: &str, key: &str) -> String {
    format!("/{bucket}/{}", encode(key, true))
}

fn encode(text: &str, keep_slash: bool) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
            b'/' if keep_slash => "/".to_owned(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

/// HMAC-SHA256; the keys here are shorter than a block.
fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let pad = |byte: u8| -> Vec<u8> { (0..64).map(|at| key.get(at).copied().unwrap_or(0) ^ byte).collect() };
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hmac_as_in_rfc_4231() {
        let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(hex::encode(hmac(b"Jefe", b"what do ya want for nothing?")), expected);
    }
}
