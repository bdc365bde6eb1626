-- The macro of long texts for the input's SQL: it needs nothing but DuckDB.

-- name: split_text
-- A text as a list of parts: (id, part, text, start, tokens). A token is 4 bytes, always: a rate that is learnt would move
-- every cut.
--
-- The text is taken as pieces that add up to it: paragraphs, and where one is longer than half a part its sentences, and
-- where one of these is longer its words. The better end of a piece is that of a heading's section where headings are asked
-- for, else of a paragraph, else of a sentence, else of a word; among equals the one with the least md5 of what is around
-- it. A text is cut at each anchor: an end that is better than all others within half a part of it, on both sides. Between
-- two anchors, and before the first, cuts go from the right to the left, each at the best of the ends between half of
-- `tokens` and all of them; after the last anchor they go from the left to the right. So what an edit does to the cuts ends
-- at the next anchor, no cut behind the first anchor depends on what is put in front, and none before the last one on what
-- is put behind. Between two anchors an end that leaves less than half a part goes after all others, so that only the first
-- and the last part may be short.
-- A part begins with the end of the part before, at most `overlap` tokens of it; its `id` is without them.
--
-- `list_transform([value], lambda name: ...)[1]` gives a name to a value. In the first fold, `e` is the byte where a piece
-- ends, `q` has the ends of the last half part that none behind them has beaten, where `m` says that none before has either,
-- and `anchors` the numbers of the anchors. In the second, `s` is where the part begins, and `be`, `bl`, `bh`, `bk` are the
-- end, level, md5 and number of the best piece so far.
CREATE OR REPLACE MACRO memory.main.split_text(document, tokens := 4000, overlap := 200, "by" := 'paragraph') AS (
list_transform([{
    'most': CASE WHEN tokens >= 1 THEN greatest(tokens, 1)::BIGINT * 4 ELSE error('split_text: tokens is a number from 1') END,
    'overlap': CASE WHEN overlap >= 0 THEN overlap::BIGINT ELSE error('split_text: overlap is a number of tokens from 0') END,
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
        'b': strlen(pair[1].t)::BIGINT, 'l': pair[1].l::INTEGER, 'h': md5(pair[1].t || coalesce(pair[2].t, '')), 'k': i::BIGINT
    })
], lambda marks: list_transform([
    list_reduce(
        list_transform(marks[1 : len(marks) - 1], lambda mark: {
            'b': mark.b, 'l': mark.l, 'h': mark.h, 'k': mark.k, 'e': 0::BIGINT,
            'q': []::STRUCT(e BIGINT, l INTEGER, h VARCHAR, k BIGINT, m BOOLEAN)[], 'anchors': []::BIGINT[]
        }),
        lambda a, x: list_transform([list_filter(
            a.q, lambda d: d.e >= a.e + x.b - given.most // 2 AND (d.l > x.l OR (d.l = x.l AND d.h <= x.h))
        )], lambda better: {
            'b': x.b, 'l': x.l, 'h': x.h, 'k': x.k, 'e': a.e + x.b,
            'q': list_append(better, {
                'e': a.e + x.b, 'l': x.l, 'h': x.h, 'k': x.k, 'm': len(better) = 0 AND a.e + x.b >= given.most // 2
            }),
            'anchors': a.anchors || list_transform(
                list_filter(a.q, lambda d: d.m AND d.e < a.e + x.b - given.most // 2), lambda d: d.k
            )
        })[1],
        {
            'b': 0::BIGINT, 'l': 0::INTEGER, 'h': ''::VARCHAR, 'k': 0::BIGINT, 'e': 0::BIGINT,
            'q': []::STRUCT(e BIGINT, l INTEGER, h VARCHAR, k BIGINT, m BOOLEAN)[], 'anchors': []::BIGINT[]
        }
    )
], lambda found: list_transform([
    found.anchors || list_transform(
        list_filter(found.q, lambda d: d.m AND d.e <= given.bytes - given.most // 2), lambda d: d.k
    )
], lambda anchors: list_transform([
    list_transform(
        list_zip([0::BIGINT] || anchors, anchors || [len(marks)::BIGINT]),
        lambda ends, i: CASE WHEN i = 1 OR i <= len(anchors)
            THEN list_transform(
                list_zip(list_reverse(marks[ends[1] + 1 : ends[2]]), list_reverse(marks[ends[1] + 1 : ends[2]])[2:]),
                lambda pair: {
                    'b': pair[1].b, 'l': coalesce(pair[2].l, 0), 'h': coalesce(pair[2].h, ''), 'k': coalesce(pair[2].k, 0)
                }
            )
            ELSE marks[ends[1] + 1 : ends[2]] END
    )
], lambda ways: list_transform([
    list_sort(flatten(list_transform(ways, lambda way, i: list_reduce(
        list_transform(way, lambda mark, number: {
            'b': mark.b,
            'l': mark.l - CASE WHEN i > 1 AND i < len(ways)
                AND list_sum(list_transform(way[number + 1 :], lambda behind: behind.b)) < given.most // 2 THEN 4 ELSE 0 END,
            'h': mark.h, 'k': mark.k,
            'e': 0::BIGINT, 's': 0::BIGINT, 'be': 0::BIGINT, 'bl': 0::INTEGER, 'bh': ''::VARCHAR, 'bk': 0::BIGINT, 'cuts': []::BIGINT[]
        }),
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
    ).cuts)) || anchors)
], lambda cuts: list_transform([
    list_filter([0::BIGINT] || cuts || [len(pieces)::BIGINT], lambda bound, i: i = 1 OR bound > ([0::BIGINT] || cuts)[i - 1])
], lambda bounds: list_transform([
    list_transform(range(1, len(bounds)), lambda i: array_to_string(list_transform(pieces[bounds[i] + 1 : bounds[i + 1]], lambda piece: piece.t), ''))
], lambda texts: list_transform([{
    'hashes': list_transform(texts, lambda each: md5(each)),
    'heads': list_transform(texts, lambda each, i: CASE WHEN i = 1 OR given.overlap = 0 THEN ''
        WHEN strlen(texts[i - 1]) <= given.overlap * 4 THEN texts[i - 1]
        ELSE regexp_replace(right(texts[i - 1], (given.overlap * 4 * length(texts[i - 1]) // strlen(texts[i - 1]))::BIGINT), '^\S*\s*', '') END)
}], lambda made: list_transform(texts, lambda each, i: {
    'id': made.hashes[i] || CASE WHEN list_contains(made.hashes[1 : i - 1], made.hashes[i])
        THEN '-' || (1 + len(list_filter(made.hashes[1 : i - 1], lambda other: other = made.hashes[i])))::VARCHAR ELSE '' END,
    'part': i::INTEGER,
    'text': made.heads[i] || each,
    'start': (1 + coalesce(list_sum(list_transform(texts[1 : i - 1], lambda before: length(before))), 0) - length(made.heads[i]))::BIGINT,
    'tokens': ((strlen(made.heads[i]) + strlen(each) + 3) // 4)::BIGINT
}))[1])[1])[1])[1])[1])[1])[1])[1])[1])[1]
)
