//! Real questions find the turns of a conversation that answer them.

use harness::Outcome;
use mnemon::jiff::Timestamp;
use mnemon::{NewTrace, Recall, TextIndex, TraceId, TraceStore, TraceType};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::PathBuf;

/// A question, with the turns that answer it.
struct Question {
    id: String,
    text: String,
    partition: String,
    evidence: Vec<TraceId>,
}

struct Data {
    store: TraceStore,
    questions: Vec<Question>,
    /// By the refs of turns and the ids of questions.
    embeddings: HashMap<String, Box<[f32]>>,
}

fn text<'a>(record: &'a Value, field: &str) -> Outcome<&'a str> {
    Ok(record[field].as_str().ok_or_else(|| format!("{field} of {record}"))?)
}

/// The turns of the conversations, with embeddings; `None` if the data is not there.
fn data() -> Outcome<Option<Data>> {
    let data = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let lines = |file: &str| fs::read_to_string(data.join(file));
    let (Ok(turns), Ok(questions), Ok(refs), Ok(vectors)) = (
        lines("conversations.jsonl"),
        lines("questions.jsonl"),
        lines("embeddings.txt"),
        fs::read(data.join("embeddings.f32")),
    ) else {
        eprintln!("skipped: {} lacks the conversations, questions or embeddings", data.display());
        return Ok(None);
    };
    let numbers: Vec<_> = vectors.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    let embeddings: HashMap<_, Box<[f32]>> =
        refs.lines().map(str::to_owned).zip(numbers.chunks(384).map(Into::into)).collect();
    let store = TraceStore::builder().text_index(TextIndex::english()).in_memory()?;
    let mut last = BTreeMap::new();
    for line in turns.lines() {
        let record: Value = serde_json::from_str(line)?;
        if record["type"] != "episodic" {
            continue;
        }
        let (name, partition) = (text(&record, "ref")?, text(&record, "partition")?.to_owned());
        let tags: Vec<_> =
            record["tags"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let new = NewTrace::new(TraceType::Episodic, &record["payload"])
            .id(TraceId::from_reference(name))
            .partition(&*partition)
            .created_at(text(&record, "created_at")?.parse::<Timestamp>()?)
            .tags(tags);
        let new = embeddings.get(name).cloned().into_iter().fold(new, NewTrace::embedding);
        let id = store.insert(new)?;
        if let Some(before) = last.insert(partition, id) {
            for _ in 0..3 {
                store.co_activate(before, id)?;
            }
        }
    }
    let questions = questions.lines().map(|line| -> Outcome<_> {
        let record: Value = serde_json::from_str(line)?;
        let evidence = record["evidence"].as_array().into_iter().flatten().filter_map(Value::as_str);
        Ok(Question {
            id: text(&record, "id")?.to_owned(),
            text: text(&record, "question")?.to_owned(),
            partition: text(&record, "partition")?.to_owned(),
            evidence: evidence.map(TraceId::from_reference).collect(),
        })
    });
    Ok(Some(Data { store, questions: questions.collect::<Outcome<_>>()?, embeddings }))
}

impl Data {
    /// The share of the evidence that is among the first 10 answers.
    fn recall_at_10(&self, ask: impl for<'a> Fn(Recall<'a>, &Question) -> Recall<'a>) -> Outcome<f64> {
        let mut found = 0.0;
        for question in &self.questions {
            let recall = self.store.recall(&*question.text).partition(&*question.partition);
            let answers = ask(recall, question).run()?;
            let is_found = |id: &&TraceId| answers.iter().any(|answer| answer.trace.id() == **id);
            found +=
                question.evidence.iter().filter(is_found).count() as f64 / question.evidence.len() as f64;
        }
        Ok(found / self.questions.len() as f64)
    }
}

/// The bounds are figures of the same methods elsewhere, on ten conversations of which these are three.
#[test]
fn questions_find_their_evidence() -> Outcome {
    let Some(data) = data()? else { return Ok(()) };
    let vector = |question: &Question| data.embeddings[&question.id].clone();
    let text = data.recall_at_10(|recall, _| recall)?;
    let hybrid = data.recall_at_10(|recall, question| recall.near(vector(question)))?;
    println!("text {text:.3}, hybrid {hybrid:.3}");
    assert!(text >= 0.62, "{text}");
    assert!(hybrid >= 0.66, "{hybrid}");
    Ok(())
}
