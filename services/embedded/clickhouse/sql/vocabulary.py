"""The words that `rights.py` knows, all lower case: table functions, engines, settings,
statements.
"""

import re

from services.embedded.clickhouse.users import Role


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Every table function of chDB is in one of these two sets; a contract test compares
# them with the engine's own list.
HARMLESS_TABLE_FUNCTIONS = _words("""
    dictionary format generaterandom generate_series generateseries loop merge mergetreeanalyzeindexes
    mergetreeanalyzeindexesuuid mergetreecodecblockcounts mergetreeindex mergetreeprojection
    mergetreetextindex null numbers numbers_mt primes prometheusquery prometheusqueryrange
    sqlstandardvalues timeseriesdata timeseriesmetricfamilies timeseriesmetrics timeseriessamples
    timeseriesselector timeseriestags values view viewexplain viewifpermitted zeros zeros_mt
""")
FORBIDDEN_TABLE_FUNCTIONS = _words("""
    arrowflight arrowstream azureblobstorage azureblobstoragecluster bigquery cluster clusterallreplicas
    cosn deltalake deltalakeazure deltalakeazurecluster deltalakecluster deltalakelocal deltalakes3
    deltalakes3cluster eval executable file filecluster filesystem fuzzjson fuzzquery gcs hdfs hdfscluster
    hudi hudicluster iceberg icebergazure icebergazurecluster icebergcluster iceberghdfs
    iceberghdfscluster iceberglocal iceberglocalcluster icebergs3 icebergs3cluster input jdbc mongodb
    mysql odbc oss paimon paimonazure paimonazurecluster paimoncluster paimonhdfs paimonhdfscluster
    paimonlocal paimons3 paimons3cluster postgresql python redis remote remotesecure s3 s3cluster sqlite
    url urlcluster ytsaurus
""")
# Sources of dictionaries and targets of backups have the form of a call, too.
FORBIDDEN_CALLS = FORBIDDEN_TABLE_FUNCTIONS | _words(
    "http executablepool cassandra yamlregexptree library disk hascolumnintable"
)
# Scalar functions can be named without parentheses (APPLY, arrayMap), so their names
# are refused as words.
FORBIDDEN_WORDS = _words("""
    file outfile infile catboostevaluate reversednsquery showcertificate generateserialid
    naivebayesclassifier naivebayesclassifierwithprob naivebayesclassifierwithallprobs addresstoline
    addresstolinewithinlines addresstosymbol
""")
FORBIDDEN_WORD = re.compile(r"ai(classify|embed|extract|filter|generate\w*|redact|similarity|translate)")

# The same for engines of tables and databases.
ALLOWED_ENGINES = _words("""
    aggregatingmergetree alias atomic buffer coalescingmergetree collapsingmergetree dictionary
    generaterandom graphitemergetree join log materializedview memory merge mergetree null
    replacingmergetree set stripelog summingmergetree tinylog versionedcollapsingmergetree view
""")
FORBIDDEN_ENGINES = _words("""
    arrowflight arrowstream azureblobstorage azurequeue backup bigquery cosn datalakecatalog deltalake
    deltalakeazure deltalakelocal deltalakes3 distributed embeddedrocksdb executable executablepool file
    filelog filesystem fuzzjson fuzzquery gcs hdfs hive hudi iceberg icebergazure iceberghdfs iceberglocal
    icebergs3 jdbc kafka keepermap lazy loop materializedmysql materializedpostgresql mongodb mysql nats
    odbc ordinary oss overlay paimon paimonazure paimonhdfs paimonlocal paimons3 postgresql queryrunner
    rabbitmq redis remote remotesecure replicated replicatedaggregatingmergetree
    replicatedcoalescingmergetree replicatedcollapsingmergetree replicatedgraphitemergetree
    replicatedmergetree replicatedreplacingmergetree replicatedsummingmergetree
    replicatedversionedcollapsingmergetree s3 s3queue sqlite timeseries url ytsaurus
""")

# They change how the very text is read, or the protection itself, or name files: nobody
# sets them, in whatever place.
FORBIDDEN_SETTING = re.compile(
    r"""
    workload | \w*dialect\w* | implicit_select | implicit_table_at_top_level
    | allow_experimental_eval_table_function | allow_introspection_functions
    | input_format_values_(interpret_expressions|deduce_templates_of_expressions|accurate_types_of_literals)
    | \w*file_path | format_schema\w* | output_format_schema | format_template_\w*
    | rename_files_after_processing | dynamic_disk_allow_\w* | ai_function_\w*
    | default(_temporary)?_table_engine
    """,
    re.VERBOSE,
)
# The store sets them on every handle; a client may ask for the same.
PINNED_SETTINGS = {"async_insert": "0"}

FORBIDDEN_PAIRS = {
    ("set", "role"): "roles follow from the user",
    ("default", "role"): "roles follow from the user",
    ("execute", "as"): "roles follow from the user",
    ("parallel", "with"): "send one statement at a time",
    ("into", "function"): "writing goes to tables only",
    ("table", "function"): "writing goes to tables only",
    ("system", "shutdown"): "stop the process instead",
    ("system", "kill"): "stop the process instead",
    ("use", "default"): "the database `default` shows the machine's files",
}
FORBIDDEN_FIRST = {
    "attach": "it reads any path",
    "backup": "it writes any path",
    "restore": "it reads any path",
    "execute": "roles follow from the user",
}

READS = _words("select with from show describe desc explain exists")
FIRST_WORDS = {
    Role.ANALYST: READS | {"use"},
    Role.TENANT_ANALYST: (READS | {"use"}) - {"explain"},
    Role.GATEWAY: _words("select with"),
    Role.SERVICE: READS | _words("insert delete update alter optimize set use check truncate"),
}

ANALYST_DATABASES = _words("tocsin information_schema")
ANALYST_SHOWS = _words(
    "databases tables columns fields index indexes indices keys create table view functions settings full "
    "extended dictionaries engines"
)
ANALYST_SYSTEM_TABLES = _words("""
    columns tables databases functions formats settings data_type_families collations time_zones one
    numbers numbers_mt zeros zeros_mt keywords parts parts_columns data_skipping_indices projections
    table_engines table_functions dictionaries merge_tree_settings
    aggregate_function_combinators licenses contributors build_options
""")
ANALYST_FORBIDDEN_CALLS = _words("merge loop dictionary getserversetting getmacro joinget joingetornull")
ANALYST_SETTINGS = _words("""
    date_time_input_format cast_string_to_dynamic_use_inference max_execution_time max_threads
    max_block_size join_use_nulls session_timezone extremes limit offset date_time_output_format
    cast_keep_nullable cancel_http_readonly_queries_on_client_close log_comment use_client_time_zone
    readonly format_csv_delimiter format_tsv_null_representation format_csv_null_representation
    bool_true_representation bool_false_representation empty_result_for_aggregation_by_empty_set
    transform_null_in group_by_use_nulls prefer_column_name_to_alias http_zlib_compression_level
    max_memory_usage max_result_rows max_result_bytes max_rows_to_read max_bytes_to_read
    max_rows_to_group_by max_rows_to_sort max_bytes_to_sort max_rows_in_set max_bytes_in_set
    max_rows_in_join max_bytes_in_join result_overflow_mode read_overflow_mode timeout_overflow_mode
    group_by_overflow_mode sort_overflow_mode set_overflow_mode join_overflow_mode async_insert
    wait_for_async_insert network_compression_method network_zstd_compression_level union_default_mode
    describe_include_subcolumns
""")
