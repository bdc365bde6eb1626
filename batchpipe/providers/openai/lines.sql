-- Return one row per line of results files, of the output file and of the error file alike. `lines` has (filename, line,
-- damaged, id, custom_id, response, error, window, reported_usd). It is read either as typed JSON, where `line`
-- is NULL, or as text whose parts are given their types afterwards: then a part of the wrong type is NULL, `line` has the text of a line, and
-- `damaged` the text of a line that is no JSON.
-- A success is the status 200 and the state of the body. A body with an answer is a success also where its status or its
-- state is missing or new, or an error stands beside it, and with usage where its status is any other: it was paid for. Sources of names: the types of the provider's SDK 3.57.0.
WITH lines AS ({lines}),
parts AS (
    SELECT
        filename,
        coalesce(damaged, CAST(line AS VARCHAR)) AS line,
        custom_id,
        id,
        -- A window that the provider keeps for a realtime call that may take its time.
        "window" AS background_window,
        {reported_usd} AS reported_usd,
        damaged IS NOT NULL AS damaged,
        error,
        response IS NOT NULL AS has_response,
        response.status_code AS status_text,
        CASE WHEN regexp_full_match(response.status_code, '[0-9]{1,3}')
            THEN CAST(response.status_code AS INTEGER) END AS status_code,
        response.body AS body,
        response.body.usage AS usage,
        response.body.choices AS choices,
        response.body.choices[1].message AS message,
        response.body.choices[1].finish_reason AS finish_reason,
        response.body."output" AS items,
        response.body.status AS state,
        response.body.service_tier AS service_tier
    FROM lines
),
-- A count is NULL where it is no whole number of a size that occurs. A count that may be left out is 0 where it is.
counted AS (
    SELECT
        *,
        all_input_tokens - cache_read_tokens - all_cache_write_tokens AS input_tokens,
        CASE WHEN writes_split THEN cache_write_30m_tokens ELSE all_cache_write_tokens END AS cache_write_5m_tokens,
        CASE WHEN writes_split THEN cache_write_12h_tokens ELSE 0 END AS cache_write_1h_tokens,
        coalesce(
            all_input_tokens - cache_read_tokens - all_cache_write_tokens >= 0
            AND output_tokens - thinking_tokens >= 0
            AND (NOT writes_split OR all_cache_write_tokens = cache_write_30m_tokens + cache_write_12h_tokens)
            AND (usage.total_tokens IS NULL OR usage.total_tokens = 'null' OR total_tokens = all_input_tokens + output_tokens),
            false
        ) AS usage_known
    FROM (
    SELECT
        * EXCLUDE (given_output_tokens),
        -- Some servers of this protocol count reasoning beside the output; their total says so.
        given_output_tokens + CASE
            WHEN thinking_tokens > 0 AND total_tokens = all_input_tokens + given_output_tokens + thinking_tokens
            THEN thinking_tokens ELSE 0
        END AS output_tokens
    FROM (
    SELECT
        *,
        {total_tokens} AS total_tokens,
        CASE WHEN usage.prompt_tokens IS NULL THEN {input_tokens} ELSE {prompt_tokens} END AS all_input_tokens,
        CASE WHEN usage.completion_tokens IS NULL THEN {output_tokens} ELSE {completion_tokens} END AS given_output_tokens,
        CASE WHEN usage.prompt_tokens_details IS NULL THEN {input_cached} ELSE {prompt_cached} END AS cache_read_tokens,
        CASE WHEN usage.prompt_tokens_details IS NULL THEN {input_written} ELSE {prompt_written} END
            AS all_cache_write_tokens,
        CASE WHEN usage.completion_tokens_details IS NULL THEN {output_reasoning} ELSE {completion_reasoning} END
            AS thinking_tokens,
        {written_30m} AS cache_write_30m_tokens,
        {written_12h} AS cache_write_12h_tokens,
        usage.input_tokens_details.cache_write_tokens_details IS NOT NULL AS writes_split,
        choices IS NOT NULL AS is_chat,
        -- The model says some things on its way; where it marks its final answer, only that is the answer.
        len([1 FOR item IN items IF item.phase = 'final_answer']) > 0 AS has_final_answer,
        [item FOR item IN items IF item.type = 'message'] AS messages,
        [item.arguments FOR item IN items IF item.type = 'function_call'] AS calls,
        [coalesce(item.type, 'null') FOR item IN items IF coalesce(item.type NOT IN ({known_items}), true)][1] AS new_item,
        len([1 FOR item IN items IF item.type = 'web_search_call']) AS web_searches,
        coalesce(error.code, error.type, body.error.code, body.error.type, CASE WHEN body.error IS NOT NULL THEN 'error' END)
            AS error_code,
        coalesce(body.error.type, error.type) AS error_kind,
        coalesce(error.message, body.error.message) AS said
    FROM parts
    )
    )
),
spoken AS (
    SELECT
        *,
        [part FOR part IN flatten([
            coalesce(item.content, []) FOR item IN messages
            IF CASE WHEN has_final_answer THEN item.phase = 'final_answer' ELSE item.phase IS DISTINCT FROM 'commentary' END
        ]) IF part."text" IS NOT NULL] AS spoken_parts,
        CASE
            WHEN is_chat THEN nullif(message.refusal, '')
            ELSE [part.refusal FOR part IN flatten([coalesce(item.content, []) FOR item IN messages])
                IF part.type = 'refusal'][1]
        END AS refusal,
        coalesce(error.code, error.type, error.message) IS NOT NULL AS has_error,
        coalesce(is_chat AND len(choices) > 0 OR NOT is_chat AND (items IS NOT NULL OR state IS NOT NULL), false) AS is_answer
    FROM counted
),
answered AS (
    SELECT
        *,
        body IS NOT NULL AND CASE
            WHEN status_code = 200 AND NOT has_error THEN true
            ELSE is_answer AND (usage IS NOT NULL OR coalesce(status_code BETWEEN 200 AND 299, true))
        END AS is_success,
        CASE
            WHEN NOT is_answer THEN NULL
            WHEN is_chat AND len(message.tool_calls) > 0 THEN coalesce(message.tool_calls[1]."function".arguments, '')
            WHEN is_chat AND message.function_call IS NOT NULL THEN coalesce(message.function_call.arguments, '')
            WHEN is_chat AND json_type(message.content) = 'ARRAY' THEN coalesce(array_to_string(
                [part FOR part IN CAST(json_extract_string(message.content, '$[*].text') AS VARCHAR[]) IF part IS NOT NULL], ''
            ), '')
            WHEN is_chat THEN coalesce(message.content ->> '$', '')
            WHEN items IS NULL THEN NULL
            WHEN len(calls) > 0 THEN coalesce(calls[1], '')
            ELSE coalesce(array_to_string([part."text" FOR part IN spoken_parts], ''), '')
        END AS answer
    FROM spoken
),
classified AS (
    SELECT
        *,
        CASE
            WHEN damaged OR custom_id IS NULL THEN 'unknown'
            WHEN is_success THEN CASE
                WHEN NOT is_answer THEN 'unknown'
                WHEN is_chat THEN CASE
                    WHEN finish_reason = 'content_filter' OR refusal IS NOT NULL THEN 'refused'
                    WHEN finish_reason = 'length' THEN 'truncated'
                    WHEN message IS NOT NULL AND (finish_reason IN ({known_finish_reasons}) OR has_text) THEN 'answered'
                    ELSE 'unknown'
                END
                WHEN state = 'incomplete' THEN CASE body.incomplete_details.reason
                    WHEN 'max_output_tokens' THEN 'truncated'
                    WHEN 'content_filter' THEN 'refused'
                    WHEN 'max_messages' THEN 'unfinished'
                    WHEN 'steered' THEN 'unfinished'
                    ELSE CASE WHEN has_text THEN 'unfinished' ELSE 'unknown' END
                END
                -- A text with usage was paid for: it is judged, and not asked for again.
                WHEN state IN ('failed', 'cancelled') AND has_text AND usage IS NOT NULL AND failed_outcome <> 'refused'
                    THEN 'unfinished'
                WHEN state = 'failed' THEN failed_outcome
                -- What was paid for is an attempt. Nobody cancels a realtime call: the provider did not take it up.
                WHEN state = 'cancelled' AND usage IS NOT NULL THEN 'unfinished'
                WHEN state = 'cancelled' AND id = 'realtime' THEN 'transient'
                WHEN state = 'cancelled' THEN 'canceled'
                WHEN refusal IS NOT NULL THEN 'refused'
                WHEN state IN ('queued', 'in_progress') AND has_text THEN 'unfinished'
                WHEN has_text THEN 'answered'
                WHEN state = 'completed' AND items IS NOT NULL AND new_item IS NULL AND NOT unread THEN 'answered'
                ELSE 'unknown'
            END
            WHEN error_code IN ({expired}) THEN 'expired'
            WHEN error_code IN ({canceled}) THEN 'canceled'
            WHEN has_response AND status_code BETWEEN 200 AND 399 THEN 'unknown'
            WHEN error_code = 'image_file_not_found' OR regexp_matches(coalesce(said, ''), {gone_messages}) THEN 'transient'
            WHEN error_code IN ({account}) OR error_kind IN ({account}) OR status_code IN (401, 402, 403)
                OR regexp_matches(coalesce(said, ''), {account_messages}) THEN 'account'
            WHEN error_code IN ({context})
                OR status_code BETWEEN 400 AND 422 AND regexp_matches(coalesce(said, ''), {context_messages})
                THEN 'context_window'
            WHEN error_code IN ({refused}) THEN 'refused'
            -- A request with the status 0 was never answered.
            WHEN status_code = 0 OR status_code IN (408, 409, 429) OR status_code >= 500 THEN 'transient'
            WHEN status_code BETWEEN 400 AND 499 THEN 'permanent'
            WHEN has_response THEN 'unknown'
            ELSE failed_outcome
        END AS outcome
    FROM (
        SELECT
            -- No answer comes from no input, and no text from no output: such counts are not known.
            * REPLACE (usage_known AND CASE
                WHEN all_input_tokens > 0 AND output_tokens > 0 THEN true
                ELSE NOT has_text AND coalesce(all_input_tokens > 0 OR state IN ('failed', 'cancelled'), false)
            END AS usage_known),
            -- A message whose content is no list of parts with a text was paid for, and cannot be read.
            CASE WHEN has_text THEN false ELSE len([1 FOR item IN messages IF item.content IS NULL
                OR len([1 FOR part IN item.content IF part."text" IS NULL AND part.refusal IS NULL]) > 0]) > 0 END AS unread
        FROM (SELECT *, trim(coalesce(answer, '')) <> '' AS has_text, {failed_outcome} AS failed_outcome FROM answered)
    )
),
understood AS (
    SELECT
        *,
        CASE
            WHEN custom_id IS NULL OR damaged THEN NULL
            WHEN id IS DISTINCT FROM 'realtime' THEN 'batch'
            WHEN background_window IS NOT NULL THEN 'background'
            WHEN service_tier = 'flex' THEN 'flex'
            WHEN service_tier IN ('priority', 'fast', 'ultrafast') THEN 'priority'
            ELSE 'realtime'
        END AS processing,
        is_success AND is_answer AND (usage IS NOT NULL OR is_chat OR state IN ('completed', 'incomplete')) AS billed,
        CASE
            WHEN damaged OR custom_id IS NULL THEN 'the line is damaged'
            WHEN is_success THEN CASE
                WHEN NOT is_answer THEN 'the body is no answer'
                WHEN has_error THEN 'an error beside an answer'
                WHEN status_code IS DISTINCT FROM 200
                    THEN concat('an answer with the status `', left(coalesce(status_text, 'null'), 100), '`')
                WHEN is_chat AND finish_reason IS NULL THEN 'the finish_reason is missing'
                WHEN is_chat AND finish_reason NOT IN ({known_finish_reasons})
                    THEN concat('the finish_reason `', left(finish_reason, 100), '`')
                WHEN is_chat AND message IS NULL THEN 'the message is missing'
                WHEN is_chat AND len(choices) > 1 THEN 'an answer with several choices'
                WHEN NOT is_chat AND state IS NULL THEN 'the status of the response is missing'
                WHEN NOT is_chat AND state NOT IN ('completed', 'incomplete', 'failed', 'cancelled')
                    THEN concat('a response with the status `', left(state, 100), '`')
                WHEN state = 'incomplete'
                    AND coalesce(body.incomplete_details.reason NOT IN (
                        'max_output_tokens', 'content_filter', 'max_messages', 'steered'
                    ), true)
                    THEN concat('a response that is incomplete for `', left(body.incomplete_details.reason, 100), '`')
                WHEN NOT is_chat AND state IN ('completed', 'incomplete') AND items IS NULL THEN 'the output is missing'
                WHEN outcome = 'unknown' AND unread THEN 'a message without content that can be read'
                WHEN new_item IS NOT NULL THEN concat('an output item of the type `', left(new_item, 100), '`')
                WHEN usage IS NULL AND NOT is_chat AND state IN ('failed', 'cancelled') THEN NULL
                WHEN usage IS NULL THEN 'the usage is missing'
                WHEN NOT usage_known THEN 'the usage has counts that are missing or cannot be'
                WHEN body.model IS NULL THEN 'the model is missing'
            END
            WHEN status_code = 200 AND has_error THEN 'an error beside a body that is no answer'
            WHEN status_code = 200 THEN 'the body is missing'
            WHEN NOT has_response AND error IS NULL THEN 'the line has no response and no error'
            WHEN has_response AND status_code IS NULL THEN concat(
                'a response with the status `', left(coalesce(status_text, 'null'), 100), '`'
            )
            WHEN has_response AND status_code BETWEEN 1 AND 399 THEN concat('a response with the status ', status_code)
        END AS strange
    FROM classified
)
SELECT
    filename,
    custom_id,
    outcome,
    body.model AS model,
    CASE
        WHEN NOT coalesce(is_success, false) THEN NULL
        WHEN is_chat THEN finish_reason
        WHEN state = 'incomplete' THEN body.incomplete_details.reason
        ELSE state
    END AS stop_reason,
    CASE WHEN is_success THEN answer END AS answer,
    CASE
        WHEN outcome = 'refused' THEN coalesce(
            CASE WHEN state = 'incomplete' OR finish_reason = 'content_filter' THEN 'content_filter' END,
            error_code, 'refusal'
        )
        WHEN error_code IS NOT NULL THEN error_code
        WHEN has_response AND NOT coalesce(is_success, false) THEN concat('status ', status_text)
    END AS error_type,
    CASE
        WHEN outcome = 'unfinished'
            THEN concat('the model stopped in the middle of its turn (', coalesce(body.incomplete_details.reason, state), ')')
        WHEN outcome = 'unknown' THEN coalesce('not understood: ' || strange, said, concat('an error with the code `', coalesce(error_code, 'null'), '`'))
        WHEN status_code = 0 THEN coalesce(said, 'the request was never answered (status 0)')
        ELSE coalesce(refusal, said)
    END AS error_message,
    CASE WHEN usage_known THEN input_tokens END AS input_tokens,
    CASE WHEN usage_known THEN cache_write_5m_tokens END AS cache_write_5m_tokens,
    CASE WHEN usage_known THEN cache_write_1h_tokens END AS cache_write_1h_tokens,
    CASE WHEN usage_known THEN cache_read_tokens END AS cache_read_tokens,
    CASE WHEN usage_known THEN output_tokens END AS output_tokens,
    CASE WHEN usage_known THEN thinking_tokens END AS thinking_tokens,
    CASE WHEN usage_known THEN coalesce(web_searches, 0) END AS web_searches,
    service_tier,
    processing,
    coalesce(billed, false) AS billed,
    strange IS NULL AS cost_known,
    reported_usd,
    CASE
        WHEN outcome = 'unfinished' THEN coalesce(strange, concat('a turn that ended as `', coalesce(body.incomplete_details.reason, state), '`'))
        WHEN outcome = 'unknown' THEN coalesce(strange, concat('an error with the code `', left(coalesce(error_code, 'null'), 100), '`'))
        ELSE strange
    END AS oddity,
    damaged,
    CASE WHEN outcome IN ('unknown', 'unfinished') OR strange IS NOT NULL THEN line END AS raw,
    CAST(CASE processing
        WHEN 'background' THEN CASE background_window {background_factors} ELSE 1 END
        WHEN 'priority' THEN CASE {priority_factors} END
        ELSE 1
    END AS DECIMAL(9, 6)) AS price_factor
FROM understood
