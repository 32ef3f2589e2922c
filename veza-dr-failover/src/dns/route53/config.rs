//! How Route 53 is reached.

use std::{path::PathBuf, time::Duration};

use veza_dr_core::{Error, ErrorKind, Result, RetryPolicy, SecretString};

/// Where Route 53 is and how to be let in. `Debug` shows no secret.
///
/// ```
/// use veza_dr_failover::dns::Route53Config;
/// let mut config = Route53Config::default();
/// config.secret_access_key = Some("hush".to_owned().into());
/// assert!(!format!("{config:?}").contains("hush"));
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Route53Config {
    /// The region to sign for; `us-east-1`, where Route 53's control plane is, when `None`.
    pub region: Option<String>,
    /// The server's URL when it is not AWS.
    pub endpoint: Option<String>,
    /// Who we are; AWS's own chain (environment, profile, instance) when `None`.
    pub access_key_id: Option<SecretString>,
    /// Its secret; needed when `access_key_id` is given.
    pub secret_access_key: Option<SecretString>,
    /// The token that goes with temporary credentials.
    pub session_token: Option<SecretString>,
    /// PEM certificates of authorities to trust besides the system's.
    pub ca_file: Option<PathBuf>,
    /// How long one request may take; 20 s.
    pub timeout: Duration,
    /// How a request is tried again when Route 53 asks to slow down or is busy with the zone; 8 times over about 40 s.
    pub retry: RetryPolicy,
}

impl Default for Route53Config {
    fn default() -> Self {
        Self {
            region: None,
            endpoint: None,
            access_key_id: None,
            secret_access_key: None,
            session_token: None,
            ca_file: None,
            timeout: Duration::from_secs(20),
            retry: RetryPolicy::default().with_attempts(8).with_first(Duration::from_millis(400)),
        }
    }
}

impl Route53Config {
    /// Neither encrypted nor in need of certificates.
    pub(super) fn is_plain_http(&self) -> bool {
        self.endpoint.as_deref().is_some_and(|e| e.starts_with("http://"))
    }

    pub(super) fn validate(&self) -> Result<()> {
        let bad = |text: &str, help: &str| Err(Error::new(ErrorKind::Config, text).with_help(help));
        if let Some(endpoint) = &self.endpoint {
            // What follows may hold credentials, so it is not repeated.
            if !(endpoint.starts_with("https://") || endpoint.starts_with("http://")) {
                return bad("the endpoint of route53 is not a URL", "begin it with https://");
            }
            if endpoint.contains('@') {
                let help = "give them as access_key_id_file and secret_access_key_file";
                return bad("the endpoint of route53 holds credentials", help);
            }
        }
        if self.access_key_id.is_some() != self.secret_access_key.is_some() {
            let help = "give both access_key_id and secret_access_key, or neither for AWS's own credential chain";
            return bad("route53 has one half of its credentials", help);
        }
        if self.session_token.is_some() && self.access_key_id.is_none() {
            let help = "give the access_key_id and secret_access_key that the token belongs to";
            return bad("route53 has a session token and no access key", help);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_credential_and_a_bad_endpoint_are_refused_without_showing_them() {
        let bad: [fn(&mut Route53Config); 4] = [
            |c| c.endpoint = Some("canary.example:9000".into()),
            |c| c.endpoint = Some("https://user:canary@r53.example".into()),
            |c| c.access_key_id = Some("canary".to_owned().into()),
            |c| c.session_token = Some("canary".to_owned().into()),
        ];
        assert!(Route53Config::default().validate().is_ok());
        for (n, change) in bad.into_iter().enumerate() {
            let mut config = Route53Config::default();
            change(&mut config);
            let e = config.validate().unwrap_err();
            assert_eq!(e.kind(), ErrorKind::Config, "{n}");
            assert!(!format!("{e:?}").contains("canary"), "{n}");
        }
    }
}
