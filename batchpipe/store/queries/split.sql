-- The macro of long texts for the input's SQL: it needs nothing but DuckDB.

-- name: split_text
-- A text as a list of parts: (id, part, text, start, tokens). A token is 4 bytes, always: a rate that is learnt would move
-- every cut.
--
-- The text is taken as pieces that add up to it: paragraphs, and where one is longer than half a part its sentences, and
-- where one of these is longer its words. The best end of a piece is that of a heading's section where headings are asked
-- for, else of a paragraph, else of a sentence, else of a word; among equals the one with the least md5 of what is around
-- it. A text is cut at its best end between a half and one and a half parts from its end; from there cuts go to both sides, each at the
-- best of the ends between half of `tokens` and all of them. A shorter text is cut from its end. So no cut
-- depends on what is put in front, but for the last one or two; a cut depends on the text near it, and cuts find each other
-- again after an edit. The first and the last part may be short.
-- A part begins with the end of the part before, at most `overlap` tokens of it; its `id` is without them.
--
-- `list_transform([value], lambda name: ...)[1]` gives a name to a value. In the fold, `e` is the byte where a piece ends,
-- `s` where the part begins, and `be`, `bl`, `bh`, `bk` are the end, level, md5 and number of the best piece so far.
CREATE OR REPLACE MACRO memory.main.split_text(document, tokens := 4000, overlap := 200, "by" := 'paragraph') AS (
list_transform([{
    'most': greatest(tokens, 1)::BIGINT * 4,
    'bytes': strlen(document::VARCHAR)::BIGINT,
    'marked': CASE WHEN "by" = 'heading'
        THEN string_split(regexp_replace(document::VARCHAR, '(?m)^(#{1,6}[ \t])', chr(57345) || chr(57346) || '\1', 'g'), chr(57345) || chr(57346))
        WHEN "by" = 'paragraph' THEN [document::VARCHAR]
        ELSE error('split_text: by is ''paragraph'' or ''heading''') END
}], lambda given: list_transform([
    flatten(list_transform(list_filter(given.marked, lambda section: section <> ''), lambda section, number: list_transform(
        [regexp_extract_all(section, '(?s).+?(?:\n[ \t\r]*\n\s*|\z)')],
        lambda paragraphs: flatten(list_transform(paragraphs, lambda paragraph, p: list_transform(
            [CASE WHEN strlen(paragraph) > given.most // 2
                THEN regexp_extract_all(paragraph, '(?s).+?(?:[.!?…][''")\]”’»]*\s+|[。！？]|\n\s*|\z)')
                ELSE [paragraph] END],
            lambda sentences: flatten(list_transform(sentences, lambda sentence, n: list_transform(
                [CASE WHEN strlen(sentence) > given.most // 2 THEN regexp_extract_all(sentence, '\s*\S+\s*|\s+') ELSE [sentence] END],
                lambda words: list_transform(words, lambda word, w: {
                    't': word,
                    'l': CASE WHEN w < len(words) THEN 0 WHEN n < len(sentences) THEN 1 WHEN p < len(paragraphs) THEN 2 ELSE 3 END
                })
            )[1]))
        )[1]))
    )[1]))
], lambda pieces: list_transform([
    list_transform(list_zip(pieces, pieces[2:]), lambda pair, i: {
        'b': strlen(pair[1].t)::BIGINT, 'l': pair[1].l::INTEGER, 'h': md5(pair[1].t || coalesce(pair[2].t, '')), 'k': i::BIGINT,
        'e': 0::BIGINT, 's': 0::BIGINT, 'be': 0::BIGINT, 'bl': 0::INTEGER, 'bh': ''::VARCHAR, 'bk': 0::BIGINT, 'cuts': []::BIGINT[]
    })
], lambda marks: list_transform([
    list_reduce(
        marks,
        lambda a, x: {
            'b': x.b, 'l': x.l, 'h': x.h, 'k': x.k, 'e': a.e + x.b, 's': a.s, 'be': x.k,
            'bl': CASE WHEN given.bytes >= 3 * given.most // 2 AND a.e + x.b BETWEEN given.bytes - 3 * given.most // 2 AND given.bytes - given.most // 2
                AND (a.bk = 0 OR x.l > a.bl OR (x.l = a.bl AND x.h < a.bh)) THEN x.l ELSE a.bl END,
            'bh': CASE WHEN given.bytes >= 3 * given.most // 2 AND a.e + x.b BETWEEN given.bytes - 3 * given.most // 2 AND given.bytes - given.most // 2
                AND (a.bk = 0 OR x.l > a.bl OR (x.l = a.bl AND x.h < a.bh)) THEN x.h ELSE a.bh END,
            'bk': CASE WHEN given.bytes >= 3 * given.most // 2 AND a.e + x.b BETWEEN given.bytes - 3 * given.most // 2 AND given.bytes - given.most // 2
                AND (a.bk = 0 OR x.l > a.bl OR (x.l = a.bl AND x.h < a.bh)) THEN x.k ELSE a.bk END,
            'cuts': a.cuts
        },
        {
            'b': 0::BIGINT, 'l': 0::INTEGER, 'h': ''::VARCHAR, 'k': 0::BIGINT,
            'e': 0::BIGINT, 's': 0::BIGINT, 'be': 0::BIGINT, 'bl': 0::INTEGER, 'bh': ''::VARCHAR, 'bk': 0::BIGINT, 'cuts': []::BIGINT[]
        }
    )
], lambda found: list_transform([CASE WHEN found.bk > 0 THEN found.bk ELSE found.be END
], lambda middle: list_transform([
    list_sort(flatten(list_transform([
        list_transform(list_zip(list_reverse(marks[1 : middle]), list_reverse(marks[1 : middle])[2:]), lambda pair: {
            'b': pair[1].b, 'l': coalesce(pair[2].l, 0), 'h': coalesce(pair[2].h, ''), 'k': coalesce(pair[2].k, 0),
            'e': 0::BIGINT, 's': 0::BIGINT, 'be': 0::BIGINT, 'bl': 0::INTEGER, 'bh': ''::VARCHAR, 'bk': 0::BIGINT, 'cuts': []::BIGINT[]
        }),
        marks[middle + 1 :]
    ], lambda way: list_reduce(
        way,
        lambda a, x: {
            'b': x.b, 'l': x.l, 'h': x.h, 'k': x.k, 'e': a.e + x.b,
            's': CASE WHEN a.e + x.b - a.s <= given.most THEN a.s
                WHEN a.bk > 0 AND a.e + x.b - a.be <= given.most THEN a.be ELSE a.e + x.b END,
            'be': CASE WHEN (CASE WHEN a.e + x.b - a.s <= given.most
                    THEN a.e + x.b - a.s > given.most // 2 AND (a.bk = 0 OR x.l > a.bl OR (x.l = a.bl AND x.h < a.bh))
                    ELSE a.bk > 0 AND a.e + x.b - a.be > given.most // 2 AND a.e + x.b - a.be <= given.most END) THEN a.e + x.b ELSE a.be END,
            'bl': CASE WHEN (CASE WHEN a.e + x.b - a.s <= given.most
                    THEN a.e + x.b - a.s > given.most // 2 AND (a.bk = 0 OR x.l > a.bl OR (x.l = a.bl AND x.h < a.bh))
                    ELSE a.bk > 0 AND a.e + x.b - a.be > given.most // 2 AND a.e + x.b - a.be <= given.most END) THEN x.l ELSE a.bl END,
            'bh': CASE WHEN (CASE WHEN a.e + x.b - a.s <= given.most
                    THEN a.e + x.b - a.s > given.most // 2 AND (a.bk = 0 OR x.l > a.bl OR (x.l = a.bl AND x.h < a.bh))
                    ELSE a.bk > 0 AND a.e + x.b - a.be > given.most // 2 AND a.e + x.b - a.be <= given.most END) THEN x.h ELSE a.bh END,
            'bk': CASE WHEN (CASE WHEN a.e + x.b - a.s <= given.most
                    THEN a.e + x.b - a.s > given.most // 2 AND (a.bk = 0 OR x.l > a.bl OR (x.l = a.bl AND x.h < a.bh))
                    ELSE a.bk > 0 AND a.e + x.b - a.be > given.most // 2 AND a.e + x.b - a.be <= given.most END) THEN x.k WHEN a.e + x.b - a.s <= given.most THEN a.bk ELSE 0 END,
            'cuts': CASE WHEN a.e + x.b - a.s <= given.most THEN a.cuts
                WHEN a.bk = 0 THEN list_append(a.cuts, x.k)
                WHEN a.e + x.b - a.be <= given.most THEN list_append(a.cuts, a.bk)
                ELSE a.cuts || [a.bk, x.k] END
        },
        {
            'b': 0::BIGINT, 'l': 0::INTEGER, 'h': ''::VARCHAR, 'k': 0::BIGINT,
            'e': 0::BIGINT, 's': 0::BIGINT, 'be': 0::BIGINT, 'bl': 0::INTEGER, 'bh': ''::VARCHAR, 'bk': 0::BIGINT, 'cuts': []::BIGINT[]
        }
    ).cuts)) || [middle])
], lambda cuts: list_transform([
    list_filter([0::BIGINT] || cuts || [len(pieces)::BIGINT], lambda bound, i: i = 1 OR bound > ([0::BIGINT] || cuts)[i - 1])
], lambda bounds: list_transform([
    list_transform(range(1, len(bounds)), lambda i: array_to_string(list_transform(pieces[bounds[i] + 1 : bounds[i + 1]], lambda piece: piece.t), ''))
], lambda texts: list_transform([{
    'hashes': list_transform(texts, lambda each: md5(each)),
    'heads': list_transform(texts, lambda each, i: CASE WHEN i = 1 OR overlap <= 0 THEN ''
        WHEN strlen(texts[i - 1]) <= overlap * 4 THEN texts[i - 1]
        ELSE regexp_replace(right(texts[i - 1], (overlap::BIGINT * 4 * length(texts[i - 1]) // strlen(texts[i - 1]))::BIGINT), '^\S*\s*', '') END)
}], lambda made: list_transform(texts, lambda each, i: {
    'id': made.hashes[i] || CASE WHEN list_contains(made.hashes[1 : i - 1], made.hashes[i])
        THEN '-' || (1 + len(list_filter(made.hashes[1 : i - 1], lambda other: other = made.hashes[i])))::VARCHAR ELSE '' END,
    'part': i::INTEGER,
    'text': made.heads[i] || each,
    'start': (1 + coalesce(list_sum(list_transform(texts[1 : i - 1], lambda before: length(before))), 0) - length(made.heads[i]))::BIGINT,
    'tokens': ((strlen(made.heads[i]) + strlen(each) + 3) // 4)::BIGINT
}))[1])[1])[1])[1])[1])[1])[1])[1])[1]
)
