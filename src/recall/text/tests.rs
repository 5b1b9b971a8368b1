use super::{LONGEST, Language, Role, TextIndex};
use crate::recall::Wanted;
use proptest::collection;
use proptest::prelude::*;
use proptest::sample::Index;
use rust_stemmers::{Algorithm, Stemmer};

/// Each with the letters that its words are made of, and then some of its endings.
#[rustfmt::skip]
const LANGUAGES: [(Language, &str, &str); 17] = [
    (Language::Arabic, "ءآأؤإئابةتثجحخدذرزسشصضطظعغفقكلمنهوىيﻻ",
     "ال بال كال وال لل ون ات ان ين تم كم هم كما هما ية ها نا ست سن"),
    (Language::Danish, "abcdefghiklmnoprstuvyæøå",
     "erendes erede heder hed ende ernes eret løst lig elig gd dt igst"),
    (Language::Dutch, "abcdefghijklmnoprstuvwyzáäéëíïóöúü",
     "heden heid ene en baar bar lijk ing end ig se aa oo dd kk tt"),
    (Language::English, "abcdefghijklmnopqrstuvwxyz'",
     "ational ization fulness ousli ement able ies eed ing ly y 's s' sses iveness logi yed"),
    (Language::Finnish, "abdefghijklmnoprstuvyäö",
     "kaan hän sti lla ssa lta lle ksi nsa mme seen siin tten isten impi mpa eja iin itten"),
    (Language::French, "abcdefghijlmnopqrstuvxyzâàçèéëêîïôûù",
     "issements ications usion atrices euses ivement eux amment ement ités ière qu gu ll Ier"),
    (Language::German, "abcdefghiklmnoprstuvwyzßäöü",
     "erinnen ern em er end ung lich heit keit igkeit isch st s niss"),
    (Language::Hungarian, "abcdefghijklmnoprstuvyzáéíóöőúüű",
     "okat ként nként astul estül jaitok jük ái éi ság al el bb cs ssz képpen anként ddzs"),
    (Language::Italian, "abcdefghilmnopqrstuvzàèéìòù",
     "gliela mente amente icazioni uzione logia erebbero issimi gli quu iamo ando ivano che ghi"),
    (Language::Norwegian, "abcdefghijklmnoprstuvyæøå",
     "hetenes edes ende erte eleg elov hets lov slov dt vt ert igst"),
    (Language::Portuguese, "abcdefghijlmnopqrstuvxzáâãàçéêíóôõúü",
     "amentos idades ações logia uência issimos áramos eria nça gu ci idade mente õe"),
    (Language::Romanian, "abcdefghijlmnoprstuvzăâîşţșț",
     "abilitate ivitate atoare ului elor aţie uţiune icala iserăm ândui isme istule uri"),
    (Language::Russian, "абвгдежзийклмнопрстуфхцчшщъыьэюяё",
     "ившись ывши ость остью ейше нн ими ого ующими ла на ете ейш ями иях"),
    (Language::Spanish, "abcdefghijlmnopqrstuvxyzáéíñóúü",
     "iéndoselas ándome amente idades aciones logías eríamos yendo gu uyéramos ible iva"),
    (Language::Swedish, "abcdefghijklmnoprstuvyäöå",
     "hetens arnas ernas andet lös fullt els lig ig dd gd nn tt ast"),
    (Language::Tamil, "அஆஇஈஉஊஎஏஐஒஓஔகஙசஞடணதநனபமயரறலளழவாிீுூெேைொோ்",
     "கள் ங்கள் க்கு த்து ப்பு ற்று உக்கு இல் ஐ கொண்டு வேண்டும் முடியும் ட்ட அந்த ான் ோம் யும் மை ண் ல் வ் ய்"),
    (Language::Turkish, "abcçdefgğhıijklmnoöprsştuüvyz",
     "larımızdan lerinizin casına yken sınız mış ydı dır nda ncı lık ğımız ki ya sa di m n"),
];

fn words(index: TextIndex, text: &str) -> Vec<String> {
    index.row(text).into_iter().map(|(word, _)| word.into()).collect()
}

/// Whether a text has every word of a question.
fn finds(index: TextIndex, question: &str, text: &str) -> bool {
    let mut has = Vec::new();
    index.tokens(text, &mut |token| has.push(token.word.to_owned()));
    let wanted = Wanted::of(index, question);
    !wanted.is_empty() && wanted.words.iter().all(|(word, _)| has.iter().any(|has| **has == **word))
}

/// What people have reported of search engines: a question, a text, and whether it should be found.
#[test]
fn questions_find_texts() {
    let (english, plain) = (TextIndex::english(), TextIndex::plain());
    let cases = [
        // Written without spaces: a word inside a longer row, of two letters or one, with full and half width.
        (plain, "潮汐", "今天的潮汐很大", true),
        (plain, "猫", "我有一只猫咪", true),
        (plain, "汐潮", "今天的潮汐很大", false),
        (plain, "東京", "来週、東京タワーへ行く", true),
        (plain, "タワー", "来週、東京タワーへ行く", true),
        (plain, "ﾀﾜｰ", "来週、東京タワーへ行く", true),
        (plain, "ガラス", "ｶﾞﾗｽの靴", true),
        (plain, "が", "か\u{3099}", true),
        (plain, "น้ำ", "วันนี้น้ำขึ้นสูง", true),
        (plain, "ทะเล", "เราไปทะเลกัน", true),
        (plain, "ເດັກ", "ເດັກນ້ອຍ", true),
        (plain, "ទឹក", "ខ្ញុំផឹកទឹក", true),
        (plain, "ရေ", "ရေကူး", true),
        // Korean has spaces, but endings too; and files of a Mac have it in parts.
        (plain, "서울", "서울에서 만나요", true),
        (plain, "서울", "\u{1109}\u{1165}\u{110b}\u{116e}\u{11af}\u{110b}\u{1166}", true),
        (plain, "부산", "서울에서 만나요", false),
        // Numbers beside letters of such a script are words.
        (plain, "2024", "2024年の春", true),
        // Accents as letters of their own, or in two parts; they count.
        (plain, "café", "cafe\u{301}", true),
        (plain, "cafe\u{301}", "CAFÉ", true),
        (plain, "resume", "résumé", false),
        (plain, "ệ", "e\u{323}\u{302}", true),
        // Capitals that are not one letter to one.
        (plain, "istanbul", "İstanbul", true),
        (plain, "İSTANBUL", "istanbul", true),
        (plain, "hauptstrasse", "Hauptstraße", true),
        (plain, "HAUPTSTRASSE", "Hauptstraße", true),
        (plain, "ΟΔΥΣΣΕΥΣ", "Οδυσσευς", true),
        (plain, "ﬁn", "FIN", true),
        (plain, "ｆｕｌｌ", "full", true),
        // Apostrophes of both kinds; a final one ends a word, and so does 's.
        (english, "don't", "don’t panic", true),
        (english, "O’Brien", "O'Brien's boat", true),
        (english, "Ana", "Ana’s boat", true),
        (plain, "boats", "the boats' crews", true),
        (plain, "rock", "'rock'", true),
        (TextIndex::stemmed(Language::French), "eau", "l’eau monte", true),
        // Marks that are no letters join: Devanagari, Tamil.
        (plain, "हिन्दी", "मैं हिन्दी बोलता हूँ", true),
        (plain, "हिन", "मैं हिन्दी बोलता हूँ", false),
        (plain, "தமிழ்", "நான் தமிழ் பேசுகிறேன்", true),
        // Vowel points are left out by most who write.
        (plain, "שלום", "שָׁלוֹם עליכם", true),
        (plain, "שָׁלוֹם", "שלום", true),
        (plain, "كتاب", "كِتَابٌ", true),
        (plain, "كتاب", "كتـــاب", true),
        // Invisible letters within a word.
        (plain, "می‌خواهم", "میخواهم", true),
        (plain, "cooperate", "co\u{ad}operate", true),
        // Emoji, with and without a variation, a skin tone, or others that they are joined to.
        (plain, "🎉", "we won 🎉🎉", true),
        (plain, "❤", "I ❤\u{fe0f} you", true),
        (plain, "👍", "👍🏽", true),
        (plain, "👩", "👩‍🚀", true),
        (plain, "🇩🇪", "🇫🇷🇩🇪", true),
        (plain, "🇷🇩", "🇫🇷🇩🇪", false),
        // Forms of a word; each is its own without a language.
        (english, "walks dog", "Ana walked the dogs", true),
        (plain, "walks", "Ana walked", false),
        (TextIndex::stemmed(Language::German), "Häuser", "die Häusern", true),
        // Signs between words.
        (plain, "snake case", "snake_case", true),
        (plain, "Next", "the end.Next one", true),
        (plain, "3", "3.14", true),
        // A question that has no other words looks for those that say little.
        (english, "to be or not to be", "to be, or not to be", true),
        (english, "what about the storm", "a storm", true),
        (english, "?!", "?!", false),
    ];
    for (index, question, text, is_found) in cases {
        assert_eq!(
            finds(index, question, text),
            is_found,
            "{question:?} in {text:?}: {:?}",
            words(index, text)
        );
    }
}

#[test]
fn quoted_words_are_phrases() {
    let phrases = |question| -> Vec<String> {
        Wanted::of(TextIndex::plain(), question).phrases.iter().map(|phrase| phrase.join(" ")).collect()
    };
    assert_eq!(phrases(r#"the "north quay" and "slack water""#), ["north quay", "slack water"]);
    assert_eq!(phrases("“north quay”"), ["north quay"]);
    assert_eq!(phrases(r#"a 5" pipe"#), [""; 0]);
    assert_eq!(phrases(r#"a "" b "north quay""#), ["north quay"]);
}

/// Also a letter of a script without spaces, inside a longer row of such letters.
#[test]
fn quoted_letter_is_found_inside_word() -> crate::Result<()> {
    for (text, is_found) in [("我有一只猫咪", true), ("咪猫", true), ("猫", true), ("我有一只狗", false)]
    {
        let trace = crate::NewTrace::text(text).into_trace()?;
        let wanted = Wanted::of(TextIndex::plain(), "\"猫\"");
        assert_eq!(wanted.has_phrases_in(TextIndex::plain(), &trace), is_found, "{text}");
    }
    Ok(())
}

#[test]
fn marks_are_what_was_found() {
    let marked = |index: TextIndex, question, text: &str| -> Vec<String> {
        index.marks(question, text).into_iter().map(|at| text[at].to_owned()).collect()
    };
    assert_eq!(marked(TextIndex::english(), "who walks a dog", "Ana’s DOGS walked"), ["DOGS", "walked"]);
    assert_eq!(marked(TextIndex::plain(), "潮汐很", "今天的潮汐很大"), ["潮汐很"]);
    assert_eq!(marked(TextIndex::plain(), "strasse", "die Straße"), ["Straße"]);
}

/// The Greek stemmer panics on this word, and Greek is therefore no [`Language`].
#[test]
fn stemmer_that_panics_leaves_the_word() {
    assert_eq!(super::stem(&Stemmer::create(Algorithm::Greek), "ισαισα"), "ισαισα");
}

#[test]
fn long_word_is_cut() {
    let long = "x".repeat(100_000);
    assert_eq!(words(TextIndex::plain(), &long), ["x".repeat(LONGEST)]);
}

/// Letters or endings, by their places in a list.
fn word_parts() -> impl Strategy<Value = Vec<(bool, Index)>> {
    collection::vec(any::<(bool, Index)>(), 1..9)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any text can be read in any language, each token stands where it says, and the text finds itself.
    #[test]
    fn any_text_is_read(text in "\\PC{0,60}|[a-zåßçéıİşğאּבשׁаяάςक्षि์ำ'’ \"-]{0,40}", language in 0..LANGUAGES.len()) {
        for index in [TextIndex::stemmed(LANGUAGES[language].0), TextIndex::plain()] {
            let mut has_words = false;
            index.tokens(&text, &mut |token| {
                has_words |= token.role != Role::Letter;
                assert!(!text[token.at.clone()].is_empty() && !token.word.is_empty(), "{token:?}");
            });
            assert_eq!(finds(index, &text.replace('"', " "), &text.replace('"', " ")), has_words);
        }
    }

    /// A stemmer of a language that is offered does not panic, whatever endings a word has.
    #[test]
    fn endings_have_a_stem(language in 0..LANGUAGES.len(), parts in word_parts()) {
        let (language, letters, endings) = LANGUAGES[language];
        let (letters, endings): (Vec<_>, Vec<_>) = (letters.chars().collect(), endings.split(' ').collect());
        let word = parts.iter().map(|(is_letter, part)| {
            if *is_letter { part.get(&letters).to_string() } else { (*part.get(&endings)).to_owned() }
        });
        let (word, stemmer) = (word.collect::<String>(), Stemmer::create(language.algorithm()));
        stemmer.stem(&word);
        for end in endings {
            stemmer.stem(&format!("{word}{}", end.repeat(4)));
        }
    }

    /// Capitals make no difference.
    #[test]
    fn capitals_make_no_difference(text in "[a-zåßçéıİşğаяάςK\u{212a} ]{0,40}") {
        prop_assert_eq!(words(TextIndex::plain(), &text), words(TextIndex::plain(), &text.to_uppercase()));
    }
}
