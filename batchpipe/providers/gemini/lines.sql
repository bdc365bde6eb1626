-- Return one row per line of results files. `lines` has (filename, line, damaged, key, reported_usd, response, error, status). It
-- is read either as typed JSON, where `line` is NULL, or as text whose parts are given their types afterwards: then a part of the
-- wrong type is NULL, `line` has the text of a line, and `damaged` the text of a line that is no JSON.
WITH lines AS ({lines}),
parts AS (
    SELECT
        filename,
        coalesce(damaged, CAST(line AS VARCHAR)) AS line,
        key AS custom_id,
        response,
        response.candidates[1] AS candidate,
        response.candidates[1].content.parts AS content,
        response.candidates[1].finishReason AS finish_reason,
        response.promptFeedback.blockReason AS block_reason,
        response.usageMetadata AS usage,
        -- A failed line has an `error`, or a `status`; the status of one that did not fail has the code 0, or none.
        coalesce(
            error,
            CASE WHEN response IS NULL AND coalesce(status.code, '0') <> '0' THEN status END,
            CASE WHEN response IS NULL AND status.code IS NULL AND coalesce(status.status, status.message) IS NOT NULL
                THEN status END
        ) AS failure,
        {reported_usd} AS reported_usd,
        damaged IS NOT NULL AS damaged
    FROM lines
),
-- A count is NULL where it is no whole number of a size that occurs. A count that may be left out is 0 where it is.
-- `promptTokenCount` includes the cached tokens, and `candidatesTokenCount` leaves out those of thinking.
counted AS (
    SELECT
        *,
        coalesce(
            prompt_tokens + tool_prompt_tokens + candidates_tokens + thinking_tokens >= 0
            AND cache_read_tokens <= prompt_tokens + tool_prompt_tokens
            AND (usage.totalTokenCount IS NULL OR usage.totalTokenCount = 'null'
                OR total_tokens = prompt_tokens + tool_prompt_tokens + candidates_tokens + thinking_tokens),
            false
        ) AS usage_known,
        [part FOR part IN content IF coalesce(part.thought, 'false') <> 'true'] AS shown,
        failure IS NOT NULL AND response IS NULL AS failed,
        coalesce(CAST(failure.code AS VARCHAR), '') AS error_code,
        coalesce(failure.status, '') AS error_status,
        coalesce(failure.message, '') AS error_text
    FROM (
    SELECT
        *,
        {prompt_tokens} AS prompt_tokens,
        {tool_prompt_tokens} AS tool_prompt_tokens,
        {cache_read_tokens} AS cache_read_tokens,
        {candidates_tokens} AS candidates_tokens,
        {thinking_tokens} AS thinking_tokens,
        {total_tokens} AS total_tokens
    FROM parts
    )
),
described AS (
    SELECT
        *,
        array_to_string([part."text" FOR part IN shown IF part."text" IS NOT NULL], '') AS words,
        [part.functionCall.args FOR part IN shown IF part.functionCall IS NOT NULL] AS tool_inputs,
        len([1 FOR part IN shown IF part."text" IS NULL AND part.functionCall IS NULL]) > 0 AS other_parts,
        coalesce(response.candidates IS NULL OR len(response.candidates) = 0, true) AS no_candidate,
        coalesce(nullif(error_code, ''), nullif(error_status, ''), 'null') AS shown_code
    FROM counted
),
classified AS (
    SELECT
        *,
        CASE
            WHEN damaged OR custom_id IS NULL THEN 'unknown'
            WHEN failed THEN CASE
                WHEN regexp_matches(error_text, {gone_messages}) THEN 'transient'
                WHEN error_code IN ({account_codes}) OR error_status IN ({account_statuses})
                    OR regexp_matches(error_text, {account_messages}) THEN 'account'
                WHEN regexp_matches(error_text, {too_long_messages}) THEN 'context_window'
                WHEN error_code IN ({permanent_errors}) OR (error_code = '' AND error_status IN ({permanent_errors}))
                    THEN 'permanent'
                WHEN error_code IN ({transient_errors}) OR (error_code = '' AND error_status IN ({transient_errors}))
                    THEN 'transient'
                WHEN error_code IN ({canceled_errors}) OR (error_code = '' AND error_status IN ({canceled_errors}))
                    THEN 'canceled'
                ELSE 'unknown'
            END
            WHEN response IS NULL THEN 'unknown'
            WHEN no_candidate AND block_reason IS NOT NULL THEN 'refused'
            WHEN no_candidate AND usage IS NULL THEN 'unknown'
            WHEN no_candidate THEN CASE WHEN unread THEN 'unknown' ELSE 'transient' END
            WHEN finish_reason IN ({truncated_reasons}) THEN 'truncated'
            WHEN finish_reason IN ({refused_reasons}) THEN 'refused'
            -- A text was paid for, whatever ended it: it is judged.
            WHEN finish_reason IN ({transient_reasons}) THEN CASE WHEN no_answer THEN 'transient' ELSE 'unfinished' END
            WHEN finish_reason = 'STOP' AND no_answer THEN CASE WHEN other_parts OR unread THEN 'unknown' ELSE 'transient' END
            WHEN finish_reason IN ({answered_reasons}) THEN 'answered'
            WHEN no_answer THEN 'unknown'
            ELSE 'answered'
        END AS outcome,
        CASE
            WHEN damaged OR custom_id IS NULL THEN 'the line is damaged'
            WHEN failed THEN NULL
            WHEN response IS NULL THEN 'the line has no response and no error'
            WHEN other_parts THEN 'a part of the content that is no text and no function call'
            WHEN unread AND (finish_reason = 'STOP' OR no_candidate AND block_reason IS NULL)
                THEN 'the answer is missing, or has a form that is not known'
            WHEN NOT no_candidate AND finish_reason IS NULL THEN 'the finishReason is missing'
            WHEN finish_reason NOT IN ({known_reasons})
                THEN concat('the finishReason `', left(finish_reason, 100), '`')
            WHEN usage IS NULL THEN 'the usageMetadata is missing'
            WHEN NOT usage_known THEN 'the usageMetadata has counts that are missing or cannot be'
            WHEN response.modelVersion IS NULL THEN 'the modelVersion is missing'
        END AS strange
    FROM (
        SELECT
            -- No response comes from no input, and no text from no output: such counts are not known.
            * REPLACE (usage_known AND prompt_tokens + tool_prompt_tokens > 0 AND CASE
                WHEN candidates_tokens + thinking_tokens > 0 THEN true
                ELSE trim(coalesce(words, '')) = '' AND no_tool
            END AS usage_known),
            -- Where an answer was paid for, or is there in a shape that is not read, its absence is not the provider's
            -- own error. The shape is seen where the line is read as text; until then nothing is said of it.
            coalesce(CASE WHEN no_answer AND NOT damaged THEN
                candidates_tokens > 0
                OR line IS NULL
                OR coalesce(json_type(line, '$.response.candidates') NOT IN ('ARRAY', 'NULL'), false)
                OR coalesce(json_type(line, '$.response.candidates[0].content') NOT IN ('OBJECT', 'NULL'), false)
                OR coalesce(json_type(line, '$.response.candidates[0].content.parts') NOT IN ('ARRAY', 'NULL'), false)
            END, false) AS unread
        FROM (
            SELECT *, coalesce(words, '') = '' AND no_tool AS no_answer
            FROM (SELECT *, coalesce(len(tool_inputs), 0) = 0 AS no_tool FROM described)
        )
    )
)
SELECT
    filename,
    custom_id,
    outcome,
    regexp_replace(response.modelVersion, '^models/', '') AS model,
    coalesce(finish_reason, block_reason) AS stop_reason,
    CASE
        WHEN failed OR response IS NULL OR no_candidate THEN NULL
        WHEN coalesce(len(tool_inputs), 0) = 0 THEN coalesce(words, '')
        WHEN json_type(tool_inputs[1]) = 'VARCHAR' THEN tool_inputs[1] ->> '$'
        ELSE coalesce(CAST(tool_inputs[1] AS VARCHAR), '{}')
    END AS answer,
    CASE
        WHEN failed THEN coalesce(nullif(error_status, ''), nullif(error_code, ''))
        WHEN outcome = 'refused' THEN coalesce(block_reason, finish_reason)
    END AS error_type,
    CASE
        WHEN outcome = 'unfinished' THEN coalesce(
            candidate.finishMessage, concat('the model stopped in the middle of its turn (finishReason ', finish_reason, ')')
        )
        WHEN outcome = 'unknown' THEN coalesce(
            'not understood: ' || strange, nullif(error_text, ''), concat('an error of the code ', shown_code)
        )
        WHEN failed THEN nullif(error_text, '')
        WHEN outcome = 'refused' AND no_candidate THEN coalesce(
            response.promptFeedback.blockReasonMessage, concat('the prompt was blocked (', block_reason, ')')
        )
        WHEN outcome = 'refused' THEN coalesce(
            candidate.finishMessage, concat('the answer was stopped (', finish_reason, ')')
        )
        WHEN outcome = 'transient' AND no_candidate THEN 'the response has no candidate'
        WHEN outcome = 'transient' THEN coalesce(
            candidate.finishMessage, concat('the answer is empty (finishReason ', finish_reason, ')')
        )
        ELSE candidate.finishMessage
    END AS error_message,
    CASE WHEN usage_known THEN prompt_tokens + tool_prompt_tokens - cache_read_tokens END AS input_tokens,
    CASE WHEN usage_known THEN CAST(0 AS BIGINT) END AS cache_write_5m_tokens,
    CASE WHEN usage_known THEN CAST(0 AS BIGINT) END AS cache_write_1h_tokens,
    CASE WHEN usage_known THEN cache_read_tokens END AS cache_read_tokens,
    CASE WHEN usage_known THEN candidates_tokens + thinking_tokens END AS output_tokens,
    CASE WHEN usage_known THEN thinking_tokens END AS thinking_tokens,
    CASE WHEN usage_known THEN CAST(0 AS BIGINT) END AS web_searches,
    lower(usage.serviceTier) AS service_tier,
    CASE WHEN lower(regexp_replace(usage.serviceTier, '^SERVICE_TIER_', '')) IN ('batch', 'flex', 'priority')
        THEN lower(regexp_replace(usage.serviceTier, '^SERVICE_TIER_', '')) END AS processing,
    response IS NOT NULL AS billed,
    strange IS NULL AS cost_known,
    reported_usd,
    CASE
        WHEN outcome = 'unknown' AND failed
            THEN concat('an error of the code ', left(shown_code, 100))
        WHEN outcome = 'unfinished' THEN coalesce(strange, concat('a text that ended with the finishReason `', finish_reason, '`'))
        ELSE strange
    END AS oddity,
    damaged,
    CASE WHEN outcome IN ('unknown', 'unfinished') OR strange IS NOT NULL THEN line END AS raw,
    -- The flex tier has the price of a batch, and the priority tier a factor on the realtime price.
    CAST(CASE WHEN lower(regexp_replace(usage.serviceTier, '^SERVICE_TIER_', '')) = 'priority'
        THEN {priority_factor} ELSE 1 END AS DECIMAL(9, 6)) AS price_factor
FROM classified
