//! A small file of version 1, byte for byte. Made from the description of the format by another program, with an
//! implementation of RFC 8032 of its own.

pub(super) const LINES: &str = r#"{"kind":"mnemon-snapshot","version":1,"traces":2,"links":1,"written_by":"mnemon 0.1.0","created_at":"2026-12-01T10:00:15.123456Z","watermark":42}
{"kind":"trace","id":"01010101-0101-0101-0101-010101010101","type":"episodic","partition":"default","tags":[],"payload":{"text": "the tide is early", "number": 1},"strength":0.6,"peak_strength":0.6,"base_decay_rate":0.02,"confidence":0.5,"emotional_valence":0.0,"emotional_intensity":0.0,"tier":"hot","origin":"direct_experience","source_agent":null,"created_at":"1970-01-01T00:00:00.000007Z","last_reinforced":"1970-01-01T00:00:00.000007Z","last_decayed":"1970-01-01T00:00:00.000007Z","reinforcement_count":0,"parent":null,"children":[],"unresolved":false,"consolidation_candidate":false,"pinned":false,"encryption_key_id":null,"embedding":null,"revision":1}
{"kind":"trace","id":"02020202-0202-0202-0202-020202020202","type":"episodic","partition":"default","tags":["harbour","été"],"payload":{"text": "the tide is early", "number": 2},"strength":0.1,"peak_strength":0.3,"base_decay_rate":0.02,"confidence":0.5,"emotional_valence":0.0,"emotional_intensity":0.0,"tier":"hot","origin":"direct_experience","source_agent":"ana","created_at":"1970-01-01T00:00:00.000007Z","last_reinforced":"1970-01-01T00:00:00.000007Z","last_decayed":"1970-01-01T00:00:00.000007Z","reinforcement_count":0,"parent":"01010101-0101-0101-0101-010101010101","children":["09090909-0909-0909-0909-090909090909","03030303-0303-0303-0303-030303030303"],"unresolved":false,"consolidation_candidate":false,"pinned":false,"encryption_key_id":"key 1","embedding":[0.5,-1.25],"revision":1}
{"kind":"link","a":"01010101-0101-0101-0101-010101010101","b":"02020202-0202-0202-0202-020202020202","count":3,"first_at":"1970-01-01T00:00:00.000008Z","last_at":"1970-01-01T00:00:00.000009Z"}
"#;

pub(super) const DIGEST: &str = r#"{"kind":"seal","sha512":"676d0024e8ff7227c493f1abf2e71cc9f50a51d157aab35e5237bfc92d19fb7b0535284c7ff29d87040a1f19713ddcae7b485ac6941e9bef1e40abab86d5e6b7"}
"#;

pub(super) const SIGNED: &str = r#"{"kind":"seal","sha512":"676d0024e8ff7227c493f1abf2e71cc9f50a51d157aab35e5237bfc92d19fb7b0535284c7ff29d87040a1f19713ddcae7b485ac6941e9bef1e40abab86d5e6b7","public_key":"ea4a6c63e29c520abef5507b132ec5f9954776aebebe7b92421eea691446d22c","ed25519ph":"29a3bd28afe923faf538689f72306ac01110f7c9cf545ffbb8ae58f264147334b0e3cda08b4f583c03b0e0aa97b5362715eaea498745f637035a59519d5f3f0d"}
"#;
