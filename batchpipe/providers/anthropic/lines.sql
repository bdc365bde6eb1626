-- Return one row per line of results files. `lines` has (filename, line, custom_id, result). It is read either as typed
-- JSON, where `line` is NULL, or as text whose parts are given their types afterwards: then a part of the wrong type is
-- NULL, and `line` has the text of a line that is not understood.
WITH lines AS ({lines}),
parts AS (
    SELECT
        filename,
        line,
        custom_id,
        result.type AS result_type,
        result.message AS message,
        result.message.content AS content,
        result.message.usage AS usage,
        coalesce(result.error.error.type, result.error.type) AS error_type,
        coalesce(result.error.error.message, result.error.message) AS error_message,
        result.error.error.details.error_code AS error_code
    FROM lines
),
classified AS (
    SELECT
        *,
        [block.input FOR block IN content IF block.type = 'tool_use'] AS tool_inputs,
        CASE
            WHEN custom_id IS NULL THEN 'unknown'
            WHEN result_type = 'succeeded' THEN CASE
                WHEN content IS NULL OR usage.input_tokens IS NULL OR usage.output_tokens IS NULL THEN 'unknown'
                WHEN message.stop_reason IN ('end_turn', 'stop_sequence', 'tool_use') THEN 'answered'
                WHEN message.stop_reason = 'max_tokens' THEN 'truncated'
                WHEN message.stop_reason = 'model_context_window_exceeded' THEN 'context_window'
                WHEN message.stop_reason = 'refusal' THEN 'refused'
                ELSE 'unknown'
            END
            WHEN result_type = 'errored' THEN CASE
                WHEN error_type IN ({account_types}) OR error_code IN ({account_codes})
                    OR regexp_matches(coalesce(error_message, ''), {account_messages}) THEN 'account'
                WHEN error_type IN ('invalid_request_error', 'request_too_large', 'not_found_error') THEN 'permanent'
                WHEN error_type IN (
                    'api_error', 'overloaded_error', 'rate_limit_error', 'timeout_error', 'conflict_error'
                ) THEN 'transient'
                ELSE 'unknown'
            END
            WHEN result_type IN ('expired', 'canceled') THEN result_type
            ELSE 'unknown'
        END AS outcome
    FROM parts
)
SELECT
    filename,
    custom_id,
    outcome,
    message.model AS model,
    message.stop_reason AS stop_reason,
    CASE
        WHEN result_type IS DISTINCT FROM 'succeeded' OR content IS NULL THEN NULL
        WHEN len(tool_inputs) > 0 THEN CAST(tool_inputs[1] AS VARCHAR)
        ELSE array_to_string([block."text" FOR block IN content IF block.type = 'text'], '')
    END AS answer,
    CASE WHEN result_type = 'succeeded' THEN message.stop_details.category ELSE error_type END AS error_type,
    CASE WHEN result_type = 'succeeded' THEN message.stop_details.explanation ELSE error_message END AS error_message,
    usage.input_tokens AS input_tokens,
    CASE
        WHEN usage.cache_creation IS NULL THEN coalesce(usage.cache_creation_input_tokens, 0)
        ELSE coalesce(usage.cache_creation.ephemeral_5m_input_tokens, 0)
    END AS cache_write_5m_tokens,
    coalesce(usage.cache_creation.ephemeral_1h_input_tokens, 0) AS cache_write_1h_tokens,
    coalesce(usage.cache_read_input_tokens, 0) AS cache_read_tokens,
    usage.output_tokens AS output_tokens,
    usage.output_tokens_details.thinking_tokens AS thinking_tokens,
    coalesce(usage.server_tool_use.web_search_requests, 0) AS web_searches,
    usage.service_tier AS service_tier,
    coalesce(
        result_type = 'succeeded' AND NOT (message.stop_reason IS NOT DISTINCT FROM 'refusal' AND len(content) = 0),
        false
    ) AS billed,
    CASE WHEN outcome = 'unknown' THEN CAST(line AS VARCHAR) END AS raw,
    CAST(CASE WHEN usage.inference_geo IN ({regional_geo}) THEN {regional_factor} ELSE 1 END AS DECIMAL(9, 6))
        AS price_factor
FROM classified
