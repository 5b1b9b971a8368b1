//! A small file of version 1, byte for byte. Made from the description of the format by another program, with an
//! implementation of RFC 8032 of its own.

pub(super) const LINES: &str = r#"{"mnemon_snapshot":1,"taken_at":"2026-12-01T10:00:15.123456Z","watermark":42,"traces":2,"links":1}
{"trace":{"id":"01010101-0101-0101-0101-010101010101","type":"episodic","origin":"direct_experience","partition":"default","created_at":7,"last_reinforced":7,"last_decayed":7,"revision":1,"reinforcement_count":0,"tier":"hot","strength":0.6,"peak_strength":0.6,"base_decay_rate":0.02,"emotional_valence":0.0,"emotional_intensity":0.0,"confidence":0.5,"unresolved":false,"consolidation_candidate":false,"pinned":false,"tags":[],"source_agent":null,"encryption_key_id":null,"parent":null,"children":[],"embedding":null,"payload":"{\"text\": \"the tide is early\", \"number\": 1}"}}
{"trace":{"id":"02020202-0202-0202-0202-020202020202","type":"episodic","origin":"direct_experience","partition":"default","created_at":7,"last_reinforced":7,"last_decayed":7,"revision":1,"reinforcement_count":0,"tier":"hot","strength":0.1,"peak_strength":0.3,"base_decay_rate":0.02,"emotional_valence":0.0,"emotional_intensity":0.0,"confidence":0.5,"unresolved":false,"consolidation_candidate":false,"pinned":false,"tags":["harbour","été"],"source_agent":"ana","encryption_key_id":"key 1","parent":"01010101-0101-0101-0101-010101010101","children":["09090909-0909-0909-0909-090909090909","03030303-0303-0303-0303-030303030303"],"embedding":"0000003f0000a0bf","payload":"{\"text\": \"the tide is early\", \"number\": 2}"}}
{"link":{"a":"01010101-0101-0101-0101-010101010101","b":"02020202-0202-0202-0202-020202020202","count":3,"first_at":8,"last_at":9}}
"#;

pub(super) const DIGEST: &str = r#"{"sha512":"d445f9c27be35bfae872af5df54c4b21e362aec4651b2d8c5f3a6afc6d41cc07b395f92fe5a9710300404f9421ac8959643312b37f44d09a1795e14669f745e7"}
"#;

pub(super) const SIGNED: &str = r#"{"sha512":"d445f9c27be35bfae872af5df54c4b21e362aec4651b2d8c5f3a6afc6d41cc07b395f92fe5a9710300404f9421ac8959643312b37f44d09a1795e14669f745e7","public_key":"ea4a6c63e29c520abef5507b132ec5f9954776aebebe7b92421eea691446d22c","ed25519ph":"630dd5e76f1a366f8ca5419f559341bdd30d5257eb64482d8ae6c57d919ccfdb8ecdb48b09aa2817c35be00b22151006e5df26ac1889d9d67790df3afd1b0009"}
"#;
