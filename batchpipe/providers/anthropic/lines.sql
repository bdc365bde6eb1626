-- Return one row per line of results files. `lines` has (filename, line, damaged, custom_id, reported_usd, result). It
-- is read either as typed JSON, where `line` is NULL, or as text whose parts are given their types afterwards: then a part of
-- the wrong type is NULL, `line` has the text of a line, and `damaged` the text of a line that is no JSON.
-- A message with content and usage was paid for, whatever the type of its result says: it is judged as an answer.
WITH lines AS ({lines}),
parts AS (
    SELECT
        filename,
        coalesce(damaged, CAST(line AS VARCHAR)) AS line,
        custom_id,
        result.type AS result_type,
        result.type = 'succeeded' OR (result.message.content IS NOT NULL AND result.message.usage IS NOT NULL) AS is_message,
        result.message AS message,
        result.message.content AS content,
        result.message.usage AS usage,
        coalesce(result.error.error.type, result.error.type) AS error_type,
        coalesce(result.error.error.message, result.error.message) AS error_message,
        result.error.error.details.error_code AS error_code,
        {reported_usd} AS reported_usd,
        damaged IS NOT NULL AS damaged
    FROM lines
),
-- A count is NULL where it is no whole number of a size that occurs. A count that may be left out is 0 where it is.
-- No message comes from no input, and no text from no output: such counts are not known.
counted AS (
    SELECT
        *,
        coalesce(
            input_tokens + output_tokens + cache_read_tokens + cache_write_5m_tokens + cache_write_1h_tokens
                + web_searches >= 0
            AND input_tokens + cache_read_tokens + cache_write_5m_tokens + cache_write_1h_tokens > 0
            AND output_tokens >= thinking_tokens
            AND CASE WHEN output_tokens > 0 THEN true
                ELSE trim(coalesce(array_to_string([block."text" FOR block IN content IF block.type = 'text'], ''), '')) = ''
                    AND coalesce(len([1 FOR block IN content IF block.type = 'tool_use']), 0) = 0 END
            AND (usage.cache_creation_input_tokens IS NULL
                OR all_cache_write_tokens = cache_write_5m_tokens + cache_write_1h_tokens),
            false
        ) AS usage_known
    FROM (
    SELECT
        *,
        {input_tokens} AS input_tokens,
        {output_tokens} AS output_tokens,
        {thinking_tokens} AS thinking_tokens,
        {cache_read_tokens} AS cache_read_tokens,
        {all_cache_write_tokens} AS all_cache_write_tokens,
        CASE WHEN usage.cache_creation IS NULL THEN {all_cache_write_tokens} ELSE {cache_write_5m_tokens} END
            AS cache_write_5m_tokens,
        {cache_write_1h_tokens} AS cache_write_1h_tokens,
        {web_searches} AS web_searches,
        CASE
            WHEN len(content) = 1 THEN CASE WHEN content[1].type NOT IN ({known_blocks}) THEN content[1].type
                WHEN content[1].type IS NULL THEN 'null' END
            ELSE [coalesce(block.type, 'null') FOR block IN content IF coalesce(block.type NOT IN ({known_blocks}), true)][1]
        END AS new_block
    FROM parts
    )
),
classified AS (
    SELECT
        *,
        -- Most answers are one text: to look through their blocks would take longer than all other parts of a line.
        coalesce(len(content) = 1 AND content[1].type = 'text', false) AS one_text,
        CASE WHEN len(content) = 1 AND content[1].type = 'text' THEN []
            ELSE [block.input FOR block IN content IF block.type = 'tool_use'] END AS tool_inputs,
        is_message AND message.stop_reason = 'refusal' AND len(content) = 0 AS unbilled_refusal,
        CASE
            WHEN custom_id IS NULL OR damaged THEN 'unknown'
            WHEN is_message THEN CASE
                WHEN message.stop_reason = 'max_tokens' THEN 'truncated'
                WHEN message.stop_reason = 'model_context_window_exceeded' THEN 'context_window'
                WHEN message.stop_reason = 'refusal' THEN 'refused'
                WHEN content IS NULL THEN 'unknown'
                WHEN new_block IS NOT NULL AND len([1 FOR block IN content IF block.type IN ('text', 'tool_use')]) = 0
                    THEN 'unknown'
                WHEN message.stop_reason = 'pause_turn' THEN 'unfinished'
                ELSE 'answered'
            END
            WHEN result_type = 'errored' THEN CASE
                WHEN error_type IN ({account_types}) OR error_code IN ({account_codes})
                    OR regexp_matches(coalesce(error_message, ''), {account_messages}) THEN 'account'
                WHEN error_type = 'invalid_request_error'
                    AND regexp_matches(coalesce(error_message, ''), {too_long_messages}) THEN 'context_window'
                WHEN error_type IN ('invalid_request_error', 'request_too_large', 'not_found_error') THEN 'permanent'
                WHEN error_type IN (
                    'api_error', 'overloaded_error', 'rate_limit_error', 'timeout_error', 'conflict_error'
                ) THEN 'transient'
                ELSE 'unknown'
            END
            WHEN result_type IN ('expired', 'canceled') THEN result_type
            ELSE 'unknown'
        END AS outcome,
        CASE
            WHEN damaged OR custom_id IS NULL THEN 'the line is damaged'
            WHEN is_message AND result_type IS DISTINCT FROM 'succeeded'
                THEN concat('a message in a result of the type `', left(coalesce(result_type, 'null'), 100), '`')
            WHEN is_message THEN CASE
                WHEN message IS NULL THEN 'the message is missing'
                WHEN content IS NULL THEN 'the content is missing'
                WHEN unbilled_refusal THEN NULL
                WHEN new_block IS NOT NULL THEN concat('a content block of the type `', left(new_block, 100), '`')
                WHEN message.stop_reason IS NULL THEN 'the stop_reason is missing'
                WHEN message.stop_reason NOT IN ({known_stop_reasons})
                    THEN concat('the stop_reason `', left(message.stop_reason, 100), '`')
                WHEN usage IS NULL THEN 'the usage is missing'
                WHEN NOT usage_known THEN 'the usage has counts that are missing or cannot be'
                WHEN message.model IS NULL THEN 'the model is missing'
            END
            WHEN result_type IN ('errored', 'expired', 'canceled') THEN NULL
            WHEN result_type IS NULL THEN 'the type of the result is missing'
            ELSE concat('a result of the type `', left(result_type, 100), '`')
        END AS strange
    FROM counted
)
SELECT
    filename,
    custom_id,
    outcome,
    message.model AS model,
    message.stop_reason AS stop_reason,
    CASE
        WHEN NOT coalesce(is_message, false) OR content IS NULL THEN NULL
        WHEN one_text THEN coalesce(content[1]."text", '')
        WHEN len(tool_inputs) = 0
            THEN coalesce(array_to_string([block."text" FOR block IN content IF block.type = 'text'], ''), '')
        WHEN json_type(tool_inputs[1]) = 'VARCHAR' THEN tool_inputs[1] ->> '$'
        ELSE coalesce(CAST(tool_inputs[1] AS VARCHAR), '')
    END AS answer,
    CASE WHEN is_message THEN message.stop_details.category ELSE error_type END AS error_type,
    CASE
        WHEN outcome = 'unfinished' THEN 'the model paused in the middle of its turn (stop_reason `pause_turn`)'
        WHEN outcome = 'unknown' THEN coalesce(
            'not understood: ' || strange, error_message, concat('an error of the type `', coalesce(error_type, 'null'), '`')
        )
        WHEN is_message THEN message.stop_details.explanation
        ELSE error_message
    END AS error_message,
    CASE WHEN usage_known THEN input_tokens END AS input_tokens,
    CASE WHEN usage_known THEN cache_write_5m_tokens END AS cache_write_5m_tokens,
    CASE WHEN usage_known THEN cache_write_1h_tokens END AS cache_write_1h_tokens,
    CASE WHEN usage_known THEN cache_read_tokens END AS cache_read_tokens,
    CASE WHEN usage_known THEN output_tokens END AS output_tokens,
    CASE WHEN usage_known THEN thinking_tokens END AS thinking_tokens,
    CASE WHEN usage_known THEN web_searches END AS web_searches,
    usage.service_tier AS service_tier,
    CASE WHEN usage.service_tier = 'batch' THEN 'batch' WHEN usage.service_tier IS NOT NULL THEN 'realtime' END AS processing,
    coalesce(is_message AND NOT coalesce(unbilled_refusal, false), false) AS billed,
    strange IS NULL AS cost_known,
    reported_usd,
    CASE
        WHEN outcome = 'unfinished' THEN coalesce(strange, 'a turn that the model paused (stop_reason `pause_turn`)')
        WHEN outcome = 'unknown' AND result_type = 'errored' AND NOT is_message
            THEN concat('an error of the type `', left(coalesce(error_type, 'null'), 100), '`')
        ELSE strange
    END AS oddity,
    damaged,
    CASE WHEN outcome IN ('unknown', 'unfinished') OR strange IS NOT NULL THEN line END AS raw,
    CAST(CASE WHEN usage.inference_geo IN ({regional_geo}) THEN {regional_factor} ELSE 1 END AS DECIMAL(9, 6))
        AS price_factor
FROM classified
