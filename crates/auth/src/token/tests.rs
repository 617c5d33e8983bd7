//! Tokens through their life.

use std::collections::HashSet;
use std::time::Duration;

use meta::TestClock;
use serde_json::json;

use super::*;

const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
const START: Timestamp = Timestamp::constant(1_800_000_000, 0);

/// Objects by `resource/namespace/name`; the UID is `uid-` and the name unless the JSON says otherwise.
#[derive(Default)]
struct World(Mutex<HashMap<String, Arc<Object>>>);

impl World {
    fn put(&self, resource: &str, namespace: &str, name: &str, rest: Value) {
        let mut value = json!({"kind": "K", "apiVersion": "v1",
            "metadata": {"name": name, "namespace": namespace, "uid": format!("uid-{name}")}});
        for (key, part) in rest.as_object().into_iter().flatten() {
            match key.as_str() {
                "uid" | "deletionTimestamp" => value["metadata"][key] = part.clone(),
                key => value[key] = part.clone(),
            }
        }
        let object = Arc::new(Object::from_value(&value).expect("an object"));
        self.0.lock().expect("one thread").insert(format!("{resource}/{namespace}/{name}"), object);
    }

    fn remove(&self, key: &str) {
        self.0.lock().expect("one thread").remove(key).expect(key);
    }
}

impl Objects for World {
    fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<Arc<Object>> {
        self.0.lock().expect("one thread").get(&format!("{resource}/{namespace}/{name}")).cloned()
    }
}

struct Setting {
    world: Arc<World>,
    clock: Arc<TestClock>,
    tokens: Tokens,
}

fn setting() -> Setting {
    let world = Arc::new(World::default());
    world.put("serviceaccounts", "ns", "bot", json!({}));
    world.put("nodes", "", "n1", json!({}));
    world.put("secrets", "ns", "s", json!({}));
    world.put("pods", "ns", "p", json!({"spec": {"serviceAccountName": "bot", "nodeName": "n1"}}));
    world.put("pods", "ns", "other", json!({"spec": {"serviceAccountName": "else"}}));
    let clock = Arc::new(TestClock::at(START));
    let signer = Signer::new(&rcgen::KeyPair::generate().expect("a key")).expect("it signs");
    let tokens = Tokens::new(signer, ISSUER, world.clone(), clock.clone());
    Setting { world, clock, tokens }
}

impl Setting {
    fn request(&self, spec: Value) -> Result<Value, meta::ApiError> {
        let body = json!({"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "spec": spec});
        self.tokens.request(TokenRequest { namespace: "ns", name: "bot", body })
    }

    fn token(&self, spec: Value) -> String {
        let answer = self.request(spec).expect("a token");
        answer["status"]["token"].as_str().expect("text").to_owned()
    }

    fn bound(&self, kind: &str, name: &str) -> String {
        self.token(json!({"boundObjectRef": {"kind": kind, "apiVersion": "v1", "name": name}}))
    }

    fn verify(&self, token: &str) -> Result<Verified, String> {
        self.tokens.verify(token, self.tokens.audiences()).expect("one of ours")
    }

    fn check(&self, token: &str, expected: &str) {
        let result = self.verify(token);
        assert_eq!(result.map(|verified| verified.user.name.clone()).unwrap_or_else(|error| error), expected);
    }
}

const BOT: &str = "system:serviceaccount:ns:bot";

#[test]
fn a_pods_token_tells_who_and_where() {
    let setting = setting();
    let body =
        setting.request(json!({"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": "uid-p"}}));
    let body = body.expect("a token");
    assert_eq!(body["status"]["expirationTimestamp"], json!("2027-01-15T09:00:00Z"));
    assert_eq!((&body["spec"]["expirationSeconds"], &body["spec"]["audiences"]), (&json!(3600), &json!([ISSUER])));
    let verified = setting.verify(body["status"]["token"].as_str().expect("text")).expect("it counts");
    assert_eq!((verified.user.name.as_str(), verified.user.uid.as_str()), (BOT, "uid-bot"));
    let groups = ["system:serviceaccounts", "system:serviceaccounts:ns", "system:authenticated"];
    assert_eq!(verified.user.groups, groups);
    assert_eq!(verified.audiences, [ISSUER]);
    let extra: HashSet<String> = verified
        .user
        .extra
        .iter()
        .filter(|(key, _)| *key != CREDENTIAL_ID)
        .map(|(key, values)| {
            format!("{}={}", key.trim_start_matches("authentication.kubernetes.io/"), values.join(","))
        })
        .collect();
    let expected = ["pod-name=p", "pod-uid=uid-p", "node-name=n1", "node-uid=uid-n1"];
    assert_eq!(extra, expected.map(str::to_owned).into());
    assert!(verified.user.extra[CREDENTIAL_ID][0].starts_with("JTI="));
}

#[test]
fn tokens_end_with_what_they_are_bound_to() {
    let setting = setting();
    let tokens: Vec<_> = [("Pod", "p"), ("Secret", "s"), ("Node", "n1")].map(|(k, n)| setting.bound(k, n)).into();
    let plain = setting.token(json!({}));
    tokens.iter().for_each(|token| setting.check(token, BOT));
    setting.world.put("pods", "ns", "p", json!({"deletionTimestamp": "2027-01-15T08:00:00Z"}));
    setting.check(&tokens[0], BOT);
    setting.clock.advance(Duration::from_secs(61));
    setting.check(&tokens[0], "service account token has been invalidated");
    setting.world.put("pods", "ns", "p", json!({"uid": "new"}));
    setting.check(&tokens[0], "Pod UID (new) does not match service account pod ref claim (uid-p)");
    setting.world.remove("secrets/ns/s");
    setting.check(&tokens[1], "service account token has been invalidated");
    setting.world.remove("nodes//n1");
    setting.check(&tokens[2], "service account token has been invalidated");
    setting.check(&plain, BOT);
    setting.world.put("serviceaccounts", "ns", "bot", json!({"uid": "new"}));
    setting.check(&plain, "service account UID (new) does not match claim (uid-bot)");
    setting.world.remove("serviceaccounts/ns/bot");
    setting.check(&plain, "serviceaccounts \"bot\" not found");
}

#[test]
fn tokens_have_their_time_and_audience() {
    let setting = setting();
    let token = setting.token(json!({"expirationSeconds": 600}));
    let projected = setting
        .token(json!({"expirationSeconds": 3607, "boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "p"}}));
    let vault = setting.token(json!({"audiences": ["vault"]}));
    setting.check(
        &vault,
        "token audiences [\"vault\"] is invalid for the target audiences [\"https://kubernetes.default.svc.cluster.local\"]",
    );
    let both = [ISSUER.to_owned(), "vault".to_owned()];
    let verified = setting.tokens.verify(&vault, &both).expect("ours").expect("it counts");
    assert_eq!(verified.audiences, ["vault"]);
    setting.clock.advance(Duration::from_secs(659));
    setting.check(&token, BOT);
    setting.clock.advance(Duration::from_secs(2));
    setting.check(&token, "service account token has expired");
    setting.clock.advance(Duration::from_secs(300 * 24 * 3600));
    setting.check(&projected, BOT);
}

#[test]
fn clocks_may_differ_by_a_minute() {
    let now = START.as_second();
    let check = |nbf: i64, exp: i64, iat: i64, expected: Result<(), &str>| {
        let claims = Claims { nbf: now + nbf, exp: now + exp, iat: now + iat, ..Claims::default() };
        assert_eq!(claims.check_time(START), expected.map_err(str::to_owned), "{nbf} {exp} {iat}");
    };
    check(0, 0, 0, Ok(()));
    check(60, -60, 60, Ok(()));
    check(61, 100, 0, Err("service account token is not valid yet"));
    check(0, -61, 0, Err("service account token has expired"));
    check(0, 100, 61, Err("service account token is issued in the future"));
}

#[test]
fn what_is_forged_or_foreign_does_not_count() {
    let (setting, other) = (setting(), setting());
    let token = setting.token(json!({}));
    setting.check(&other.token(json!({})), "invalid signature, no keys found");
    let parts: Vec<&str> = token.split('.').collect();
    let foreign = other.token(json!({}));
    let foreign: Vec<&str> = foreign.split('.').collect();
    setting.check(&format!("{}.{}.{}", parts[0], foreign[1], parts[2]), "invalid signature");
    let none = "eyJhbGciOiJub25lIn0";
    setting.check(&format!("{none}.{}.", parts[1]), "invalid signature");
    for text in ["", "a", "a.b.c", &format!("{token}.x")] {
        assert!(setting.tokens.verify(text, setting.tokens.audiences()).is_none(), "{text}");
    }
}

#[test]
fn requests_are_refused_as_upstream_refuses() {
    let setting = setting();
    let check = |spec: Value, code: u16, text: &str| {
        let error = setting.request(spec).expect_err(text);
        assert_eq!((error.code(), error.message.as_str()), (code, text));
    };
    let bind = |kind: &str, name: &str, uid: &str| json!({"boundObjectRef": {"kind": kind, "apiVersion": "v1", "name": name, "uid": uid}});
    check(
        json!({"expirationSeconds": 599}),
        422,
        "TokenRequest.authentication.k8s.io \"\" is invalid: spec.expirationSeconds: Invalid value: 599: may not specify a \
         duration less than 10 minutes",
    );
    check(
        bind("Pod", "other", ""),
        400,
        "cannot bind token for serviceaccount \"bot\" to pod running with different serviceaccount name.",
    );
    check(bind("Pod", "none", ""), 404, "pods \"none\" not found");
    check(bind("Job", "j", ""), 400, "cannot bind token to object of type v1, Kind=Job");
    check(
        bind("Secret", "s", "x"),
        409,
        "Operation cannot be fulfilled on Secret \"s\": the UID in the bound object reference (x) does not match the UID in \
         record. The object might have been deleted and then recreated",
    );
    let body = json!({"metadata": {"name": "else"}});
    let error = setting.tokens.request(TokenRequest { namespace: "ns", name: "bot", body }).expect_err("another name");
    assert_eq!(error.code(), 422);
}

#[test]
fn the_key_is_published() {
    let setting = setting();
    let key = &setting.tokens.jwks()["keys"][0];
    let (header, _) =
        setting.token(json!({})).split_once('.').map(|(a, b)| (a.to_owned(), b.to_owned())).expect("parts");
    use base64::Engine;
    let header = base64::prelude::BASE64_URL_SAFE_NO_PAD.decode(header).expect("base64");
    let header: Value = serde_json::from_slice(&header).expect("JSON");
    assert_eq!((&key["kid"], &key["alg"], &key["crv"]), (&header["kid"], &json!("ES256"), &json!("P-256")));
    assert_eq!(key["x"].as_str().map(str::len), Some(43));
    let configuration = setting.tokens.openid_configuration("1.2.3.4:6443");
    assert_eq!(configuration["jwks_uri"], json!("https://1.2.3.4:6443/openid/v1/jwks"));
}
