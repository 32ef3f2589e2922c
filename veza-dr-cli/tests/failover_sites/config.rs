//! What the operator wrote: sites, a bucket for backups and journals, DNS, checks.

use std::path::Path;

use veza_dr_tests::{
    compose_site::ComposeScene,
    docker::Dockerd,
    knot::{CachingResolver, Knot},
    route53_proxy::Route53Proxy,
    s3_server::S3Server,
    sshd::Sshd,
};

use crate::world::{API, BUCKET, PRIMARY, STANDBY};

pub(crate) fn config(
    dir: &Path,
    docker: &Dockerd,
    sshd: &Sshd,
    network: u16,
    (primary, standby): (&ComposeScene, &ComposeScene),
    (zone, proxy, knot, resolver): (&str, &Route53Proxy, &Knot, &CachingResolver),
    s3: &S3Server,
) -> String {
    let at = dir.display();
    let site = |name: &str, scene: &ComposeScene, port: u16, more: &str| {
        format!(
            "  {name}:\n    role: {name}\n    address: {}\n    compose: {{ file: {}, project: {}, docker_host: '{}' }}\n    \
             ssh: {{ host: 127.0.0.1, port: {port}, user: root, key_file: {}, known_hosts_file: {}, connect_timeout: 2s }}\n    \
             jobs_dir: {}\n    fence: {{ dir: {}{more} }}\n",
            scene.address,
            scene.file().display(),
            scene.project,
            docker.host(),
            sshd.key().display(),
            sshd.known_hosts().display(),
            scene.folder("jobs").display(),
            scene.folder("fence").display(),
        )
    };
    let hook = format!(
        ", hook: 'test ! -e {at}/hook-broken && touch {at}/close && until test -e {at}/closed; do sleep 0.05; done', \
         hook_undo: 'rm -f {at}/close; while test -e {at}/closed; do sleep 0.05; done'"
    );
    let ports = primary.ports;
    format!(
        "state_dir: {at}/state\nfailover: {{ runbooks: {at}/books }}\n\
         sources:\n  database: {{ postgres: {{ url: 'postgres://postgres@{PRIMARY}:{pg}/veza?sslmode=disable' }} }}\n  \
         redis: {{ redis: {{ url: 'redis://{PRIMARY}:{redis}' }} }}\n  files: {{ files: {{}} }}\n\
         backup:\n  files: {{ include: [{at}/settings, {at}/veza-dr.yml] }}\n\
         stores:\n  offsite: {{ s3: {{ bucket: {BUCKET}, prefix: veza, region: {}, endpoint: '{}', path_style: true, \
         access_key_id: {}, secret_access_key: {} }} }}\n\
         sites:\n{}    data: {{ database: {{ services: [postgres] }}, redis: {{ services: [redis] }} }}\n\
         {}    data:\n      \
         database: {{ services: [postgres], postgres: {{ url: 'postgres://postgres@{STANDBY}:{pg}/veza?sslmode=disable' }} }}\n      \
         redis: {{ services: [redis], redis: {{ url: 'redis://{STANDBY}:{redis}' }} }}\n      \
         files: {{ files: {{ root: {} }} }}\n\
         dns:\n  route53: {{ zone: {zone}, endpoint: '{}', access_key_id: key, secret_access_key: secret }}\n  \
         resolvers: ['{}']\n  nameservers: ['{}']\n  in_sync_within: 60s\n  verify_within: 30s\n  \
         records: {{ api: {{ name: {API}, type: A, primary: [{PRIMARY}], standby: [{STANDBY}], ttl: 2 }} }}\n\
         validation:\n  - {{ name: api, http: {{ port: {}, path: /health, json: {{ status: ok }}, within: 10s }} }}\n  \
         - {{ name: chat, websocket: {{ port: {}, path: /chat, token: test, send: hello, within: 10s }} }}\n  \
         - {{ name: stream, stream: {{ port: {}, path: /stream, bytes: 20, first_byte_within: 10s, within: 20s }} }}\n  \
         - {{ name: db, postgres: {{ source: database, canary: true, within: 30s }} }}\n  \
         - {{ name: cache, redis: {{ source: redis, within: 10s }} }}\n",
        s3.region(),
        s3.endpoint(),
        s3.access_key(),
        s3.secret_key(),
        site("primary", primary, network, &hook),
        site("standby", standby, sshd.port(), ""),
        standby.folder("root").display(),
        proxy.endpoint(),
        resolver.address(),
        knot.address(),
        ports.api,
        ports.chat,
        ports.stream,
        pg = ports.postgres,
        redis = ports.redis,
    )
}
