from fedstill_proto.v1 import secure_sums_pb2 as _secure_sums_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SoftLabelEncoding(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SOFT_LABEL_ENCODING_UNSPECIFIED: _ClassVar[SoftLabelEncoding]
    SOFT_LABEL_ENCODING_FLOAT32: _ClassVar[SoftLabelEncoding]
    SOFT_LABEL_ENCODING_FLOAT16: _ClassVar[SoftLabelEncoding]
    SOFT_LABEL_ENCODING_UINT8: _ClassVar[SoftLabelEncoding]
    SOFT_LABEL_ENCODING_TOP_K: _ClassVar[SoftLabelEncoding]
    SOFT_LABEL_ENCODING_LEVELS: _ClassVar[SoftLabelEncoding]
    SOFT_LABEL_ENCODING_GAUSSIAN: _ClassVar[SoftLabelEncoding]
    SOFT_LABEL_ENCODING_DRAWN: _ClassVar[SoftLabelEncoding]

class SoftLabelGrid(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SOFT_LABEL_GRID_UNSPECIFIED: _ClassVar[SoftLabelGrid]
    SOFT_LABEL_GRID_SHARES: _ClassVar[SoftLabelGrid]
    SOFT_LABEL_GRID_LOG: _ClassVar[SoftLabelGrid]

class Optimizer(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OPTIMIZER_UNSPECIFIED: _ClassVar[Optimizer]
    OPTIMIZER_SGD: _ClassVar[Optimizer]
    OPTIMIZER_MOMENTUM: _ClassVar[Optimizer]
    OPTIMIZER_ADAMW: _ClassVar[Optimizer]

class StartSource(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    START_SOURCE_UNSPECIFIED: _ClassVar[StartSource]
    START_SOURCE_INSTALLED: _ClassVar[StartSource]
    START_SOURCE_OWN: _ClassVar[StartSource]

class SummaryKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SUMMARY_KIND_UNSPECIFIED: _ClassVar[SummaryKind]
    SUMMARY_KIND_NONE: _ClassVar[SummaryKind]
    SUMMARY_KIND_PUBLIC_SET: _ClassVar[SummaryKind]
    SUMMARY_KIND_CLASS_MEANS: _ClassVar[SummaryKind]
    SUMMARY_KIND_PARAMETERS: _ClassVar[SummaryKind]
    SUMMARY_KIND_CLASS_PROTOTYPES: _ClassVar[SummaryKind]

class SumNoise(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SUM_NOISE_UNSPECIFIED: _ClassVar[SumNoise]
    SUM_NOISE_NONE: _ClassVar[SumNoise]
    SUM_NOISE_OWN: _ClassVar[SumNoise]
    SUM_NOISE_SHARED: _ClassVar[SumNoise]
SOFT_LABEL_ENCODING_UNSPECIFIED: SoftLabelEncoding
SOFT_LABEL_ENCODING_FLOAT32: SoftLabelEncoding
SOFT_LABEL_ENCODING_FLOAT16: SoftLabelEncoding
SOFT_LABEL_ENCODING_UINT8: SoftLabelEncoding
SOFT_LABEL_ENCODING_TOP_K: SoftLabelEncoding
SOFT_LABEL_ENCODING_LEVELS: SoftLabelEncoding
SOFT_LABEL_ENCODING_GAUSSIAN: SoftLabelEncoding
SOFT_LABEL_ENCODING_DRAWN: SoftLabelEncoding
SOFT_LABEL_GRID_UNSPECIFIED: SoftLabelGrid
SOFT_LABEL_GRID_SHARES: SoftLabelGrid
SOFT_LABEL_GRID_LOG: SoftLabelGrid
OPTIMIZER_UNSPECIFIED: Optimizer
OPTIMIZER_SGD: Optimizer
OPTIMIZER_MOMENTUM: Optimizer
OPTIMIZER_ADAMW: Optimizer
START_SOURCE_UNSPECIFIED: StartSource
START_SOURCE_INSTALLED: StartSource
START_SOURCE_OWN: StartSource
SUMMARY_KIND_UNSPECIFIED: SummaryKind
SUMMARY_KIND_NONE: SummaryKind
SUMMARY_KIND_PUBLIC_SET: SummaryKind
SUMMARY_KIND_CLASS_MEANS: SummaryKind
SUMMARY_KIND_PARAMETERS: SummaryKind
SUMMARY_KIND_CLASS_PROTOTYPES: SummaryKind
SUM_NOISE_UNSPECIFIED: SumNoise
SUM_NOISE_NONE: SumNoise
SUM_NOISE_OWN: SumNoise
SUM_NOISE_SHARED: SumNoise

class Tensor(_message.Message):
    __slots__ = ("name", "shape", "data", "scales")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    SCALES_FIELD_NUMBER: _ClassVar[int]
    name: str
    shape: _containers.RepeatedScalarFieldContainer[int]
    data: bytes
    scales: bytes
    def __init__(self, name: _Optional[str] = ..., shape: _Optional[_Iterable[int]] = ..., data: _Optional[bytes] = ..., scales: _Optional[bytes] = ...) -> None: ...

class SoftLabels(_message.Message):
    __slots__ = ("encoding", "rows", "classes", "k", "indices", "values", "bits", "grid", "drawn")
    ENCODING_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    K_FIELD_NUMBER: _ClassVar[int]
    INDICES_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    BITS_FIELD_NUMBER: _ClassVar[int]
    GRID_FIELD_NUMBER: _ClassVar[int]
    DRAWN_FIELD_NUMBER: _ClassVar[int]
    encoding: SoftLabelEncoding
    rows: int
    classes: int
    k: int
    indices: bytes
    values: bytes
    bits: int
    grid: SoftLabelGrid
    drawn: int
    def __init__(self, encoding: _Optional[_Union[SoftLabelEncoding, str]] = ..., rows: _Optional[int] = ..., classes: _Optional[int] = ..., k: _Optional[int] = ..., indices: _Optional[bytes] = ..., values: _Optional[bytes] = ..., bits: _Optional[int] = ..., grid: _Optional[_Union[SoftLabelGrid, str]] = ..., drawn: _Optional[int] = ...) -> None: ...

class TrainingPlan(_message.Message):
    __slots__ = ("epochs", "batch_size", "learning_rate", "optimizer", "temperature", "soft_weight", "seed", "held_out", "proximal", "local_parameters", "local_epochs")
    EPOCHS_FIELD_NUMBER: _ClassVar[int]
    BATCH_SIZE_FIELD_NUMBER: _ClassVar[int]
    LEARNING_RATE_FIELD_NUMBER: _ClassVar[int]
    OPTIMIZER_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    SOFT_WEIGHT_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    HELD_OUT_FIELD_NUMBER: _ClassVar[int]
    PROXIMAL_FIELD_NUMBER: _ClassVar[int]
    LOCAL_PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    LOCAL_EPOCHS_FIELD_NUMBER: _ClassVar[int]
    epochs: int
    batch_size: int
    learning_rate: float
    optimizer: Optimizer
    temperature: float
    soft_weight: float
    seed: int
    held_out: float
    proximal: float
    local_parameters: _containers.RepeatedScalarFieldContainer[str]
    local_epochs: int
    def __init__(self, epochs: _Optional[int] = ..., batch_size: _Optional[int] = ..., learning_rate: _Optional[float] = ..., optimizer: _Optional[_Union[Optimizer, str]] = ..., temperature: _Optional[float] = ..., soft_weight: _Optional[float] = ..., seed: _Optional[int] = ..., held_out: _Optional[float] = ..., proximal: _Optional[float] = ..., local_parameters: _Optional[_Iterable[str]] = ..., local_epochs: _Optional[int] = ...) -> None: ...

class StartPlan(_message.Message):
    __slots__ = ("source", "epochs", "learning_rate", "input_noise")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    EPOCHS_FIELD_NUMBER: _ClassVar[int]
    LEARNING_RATE_FIELD_NUMBER: _ClassVar[int]
    INPUT_NOISE_FIELD_NUMBER: _ClassVar[int]
    source: StartSource
    epochs: int
    learning_rate: float
    input_noise: float
    def __init__(self, source: _Optional[_Union[StartSource, str]] = ..., epochs: _Optional[int] = ..., learning_rate: _Optional[float] = ..., input_noise: _Optional[float] = ...) -> None: ...

class PersonalPlan(_message.Message):
    __slots__ = ("epochs", "soft_weight", "learning_rate", "proximal", "own")
    EPOCHS_FIELD_NUMBER: _ClassVar[int]
    SOFT_WEIGHT_FIELD_NUMBER: _ClassVar[int]
    LEARNING_RATE_FIELD_NUMBER: _ClassVar[int]
    PROXIMAL_FIELD_NUMBER: _ClassVar[int]
    OWN_FIELD_NUMBER: _ClassVar[int]
    epochs: int
    soft_weight: float
    learning_rate: float
    proximal: float
    own: bool
    def __init__(self, epochs: _Optional[int] = ..., soft_weight: _Optional[float] = ..., learning_rate: _Optional[float] = ..., proximal: _Optional[float] = ..., own: _Optional[bool] = ...) -> None: ...

class SoftTargets(_message.Message):
    __slots__ = ("public_set", "class_means")
    PUBLIC_SET_FIELD_NUMBER: _ClassVar[int]
    CLASS_MEANS_FIELD_NUMBER: _ClassVar[int]
    public_set: PublicSoftLabels
    class_means: ClassSoftLabels
    def __init__(self, public_set: _Optional[_Union[PublicSoftLabels, _Mapping]] = ..., class_means: _Optional[_Union[ClassSoftLabels, _Mapping]] = ...) -> None: ...

class PublicSoftLabels(_message.Message):
    __slots__ = ("public_rows", "soft_labels", "row_bits", "base_round")
    PUBLIC_ROWS_FIELD_NUMBER: _ClassVar[int]
    SOFT_LABELS_FIELD_NUMBER: _ClassVar[int]
    ROW_BITS_FIELD_NUMBER: _ClassVar[int]
    BASE_ROUND_FIELD_NUMBER: _ClassVar[int]
    public_rows: _containers.RepeatedScalarFieldContainer[int]
    soft_labels: SoftLabels
    row_bits: bytes
    base_round: int
    def __init__(self, public_rows: _Optional[_Iterable[int]] = ..., soft_labels: _Optional[_Union[SoftLabels, _Mapping]] = ..., row_bits: _Optional[bytes] = ..., base_round: _Optional[int] = ...) -> None: ...

class ClassSoftLabels(_message.Message):
    __slots__ = ("present_classes", "soft_labels")
    PRESENT_CLASSES_FIELD_NUMBER: _ClassVar[int]
    SOFT_LABELS_FIELD_NUMBER: _ClassVar[int]
    present_classes: _containers.RepeatedScalarFieldContainer[int]
    soft_labels: SoftLabels
    def __init__(self, present_classes: _Optional[_Iterable[int]] = ..., soft_labels: _Optional[_Union[SoftLabels, _Mapping]] = ...) -> None: ...

class RowSelection(_message.Message):
    __slots__ = ("least_density_ratio", "most_ambiguity")
    LEAST_DENSITY_RATIO_FIELD_NUMBER: _ClassVar[int]
    MOST_AMBIGUITY_FIELD_NUMBER: _ClassVar[int]
    least_density_ratio: float
    most_ambiguity: float
    def __init__(self, least_density_ratio: _Optional[float] = ..., most_ambiguity: _Optional[float] = ...) -> None: ...

class Noising(_message.Message):
    __slots__ = ("clip", "noise_multiplier")
    CLIP_FIELD_NUMBER: _ClassVar[int]
    NOISE_MULTIPLIER_FIELD_NUMBER: _ClassVar[int]
    clip: float
    noise_multiplier: float
    def __init__(self, clip: _Optional[float] = ..., noise_multiplier: _Optional[float] = ...) -> None: ...

class Summing(_message.Message):
    __slots__ = ("noise", "dropouts", "colluders")
    NOISE_FIELD_NUMBER: _ClassVar[int]
    DROPOUTS_FIELD_NUMBER: _ClassVar[int]
    COLLUDERS_FIELD_NUMBER: _ClassVar[int]
    noise: SumNoise
    dropouts: float
    colluders: float
    def __init__(self, noise: _Optional[_Union[SumNoise, str]] = ..., dropouts: _Optional[float] = ..., colluders: _Optional[float] = ...) -> None: ...

class SummaryRequest(_message.Message):
    __slots__ = ("kind", "encoding", "k", "public_rows", "class_counts", "selection", "bits", "grid", "entropy", "delta", "base", "base_round", "row_bits", "anchor_rows", "relative", "noising", "summing", "drawn")
    KIND_FIELD_NUMBER: _ClassVar[int]
    ENCODING_FIELD_NUMBER: _ClassVar[int]
    K_FIELD_NUMBER: _ClassVar[int]
    PUBLIC_ROWS_FIELD_NUMBER: _ClassVar[int]
    CLASS_COUNTS_FIELD_NUMBER: _ClassVar[int]
    SELECTION_FIELD_NUMBER: _ClassVar[int]
    BITS_FIELD_NUMBER: _ClassVar[int]
    GRID_FIELD_NUMBER: _ClassVar[int]
    ENTROPY_FIELD_NUMBER: _ClassVar[int]
    DELTA_FIELD_NUMBER: _ClassVar[int]
    BASE_FIELD_NUMBER: _ClassVar[int]
    BASE_ROUND_FIELD_NUMBER: _ClassVar[int]
    ROW_BITS_FIELD_NUMBER: _ClassVar[int]
    ANCHOR_ROWS_FIELD_NUMBER: _ClassVar[int]
    RELATIVE_FIELD_NUMBER: _ClassVar[int]
    NOISING_FIELD_NUMBER: _ClassVar[int]
    SUMMING_FIELD_NUMBER: _ClassVar[int]
    DRAWN_FIELD_NUMBER: _ClassVar[int]
    kind: SummaryKind
    encoding: SoftLabelEncoding
    k: int
    public_rows: _containers.RepeatedScalarFieldContainer[int]
    class_counts: bool
    selection: RowSelection
    bits: int
    grid: SoftLabelGrid
    entropy: bool
    delta: bool
    base: bytes
    base_round: int
    row_bits: bytes
    anchor_rows: _containers.RepeatedScalarFieldContainer[int]
    relative: bool
    noising: Noising
    summing: Summing
    drawn: int
    def __init__(self, kind: _Optional[_Union[SummaryKind, str]] = ..., encoding: _Optional[_Union[SoftLabelEncoding, str]] = ..., k: _Optional[int] = ..., public_rows: _Optional[_Iterable[int]] = ..., class_counts: _Optional[bool] = ..., selection: _Optional[_Union[RowSelection, _Mapping]] = ..., bits: _Optional[int] = ..., grid: _Optional[_Union[SoftLabelGrid, str]] = ..., entropy: _Optional[bool] = ..., delta: _Optional[bool] = ..., base: _Optional[bytes] = ..., base_round: _Optional[int] = ..., row_bits: _Optional[bytes] = ..., anchor_rows: _Optional[_Iterable[int]] = ..., relative: _Optional[bool] = ..., noising: _Optional[_Union[Noising, _Mapping]] = ..., summing: _Optional[_Union[Summing, _Mapping]] = ..., drawn: _Optional[int] = ...) -> None: ...

class RoundTask(_message.Message):
    __slots__ = ("protocol_version", "run", "round", "family", "training", "parameters", "replace_student", "soft_targets", "request", "start", "weight_bits", "control_variates", "personal", "mixed_rows", "generation", "checksum")
    PROTOCOL_VERSION_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    FAMILY_FIELD_NUMBER: _ClassVar[int]
    TRAINING_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    REPLACE_STUDENT_FIELD_NUMBER: _ClassVar[int]
    SOFT_TARGETS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_BITS_FIELD_NUMBER: _ClassVar[int]
    CONTROL_VARIATES_FIELD_NUMBER: _ClassVar[int]
    PERSONAL_FIELD_NUMBER: _ClassVar[int]
    MIXED_ROWS_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    CHECKSUM_FIELD_NUMBER: _ClassVar[int]
    protocol_version: int
    run: str
    round: int
    family: str
    training: TrainingPlan
    parameters: _containers.RepeatedCompositeFieldContainer[Tensor]
    replace_student: bool
    soft_targets: SoftTargets
    request: SummaryRequest
    start: StartPlan
    weight_bits: int
    control_variates: _containers.RepeatedCompositeFieldContainer[Tensor]
    personal: PersonalPlan
    mixed_rows: int
    generation: int
    checksum: int
    def __init__(self, protocol_version: _Optional[int] = ..., run: _Optional[str] = ..., round: _Optional[int] = ..., family: _Optional[str] = ..., training: _Optional[_Union[TrainingPlan, _Mapping]] = ..., parameters: _Optional[_Iterable[_Union[Tensor, _Mapping]]] = ..., replace_student: _Optional[bool] = ..., soft_targets: _Optional[_Union[SoftTargets, _Mapping]] = ..., request: _Optional[_Union[SummaryRequest, _Mapping]] = ..., start: _Optional[_Union[StartPlan, _Mapping]] = ..., weight_bits: _Optional[int] = ..., control_variates: _Optional[_Iterable[_Union[Tensor, _Mapping]]] = ..., personal: _Optional[_Union[PersonalPlan, _Mapping]] = ..., mixed_rows: _Optional[int] = ..., generation: _Optional[int] = ..., checksum: _Optional[int] = ...) -> None: ...

class PrivateStatistics(_message.Message):
    __slots__ = ("soft_labels", "present_classes", "class_examples", "parameters", "examples", "answered", "features", "noised", "control_variates")
    SOFT_LABELS_FIELD_NUMBER: _ClassVar[int]
    PRESENT_CLASSES_FIELD_NUMBER: _ClassVar[int]
    CLASS_EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    ANSWERED_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    NOISED_FIELD_NUMBER: _ClassVar[int]
    CONTROL_VARIATES_FIELD_NUMBER: _ClassVar[int]
    soft_labels: SoftLabels
    present_classes: _containers.RepeatedScalarFieldContainer[int]
    class_examples: _containers.RepeatedScalarFieldContainer[int]
    parameters: _containers.RepeatedCompositeFieldContainer[Tensor]
    examples: int
    answered: bytes
    features: bytes
    noised: _containers.RepeatedScalarFieldContainer[int]
    control_variates: _containers.RepeatedCompositeFieldContainer[Tensor]
    def __init__(self, soft_labels: _Optional[_Union[SoftLabels, _Mapping]] = ..., present_classes: _Optional[_Iterable[int]] = ..., class_examples: _Optional[_Iterable[int]] = ..., parameters: _Optional[_Iterable[_Union[Tensor, _Mapping]]] = ..., examples: _Optional[int] = ..., answered: _Optional[bytes] = ..., features: _Optional[bytes] = ..., noised: _Optional[_Iterable[int]] = ..., control_variates: _Optional[_Iterable[_Union[Tensor, _Mapping]]] = ...) -> None: ...

class SoftLabelSummary(_message.Message):
    __slots__ = ("protocol_version", "run", "round", "family", "kind", "statistics", "sum_keys", "checksum")
    PROTOCOL_VERSION_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    FAMILY_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    STATISTICS_FIELD_NUMBER: _ClassVar[int]
    SUM_KEYS_FIELD_NUMBER: _ClassVar[int]
    CHECKSUM_FIELD_NUMBER: _ClassVar[int]
    protocol_version: int
    run: str
    round: int
    family: str
    kind: SummaryKind
    statistics: PrivateStatistics
    sum_keys: _secure_sums_pb2.SumKeys
    checksum: int
    def __init__(self, protocol_version: _Optional[int] = ..., run: _Optional[str] = ..., round: _Optional[int] = ..., family: _Optional[str] = ..., kind: _Optional[_Union[SummaryKind, str]] = ..., statistics: _Optional[_Union[PrivateStatistics, _Mapping]] = ..., sum_keys: _Optional[_Union[_secure_sums_pb2.SumKeys, _Mapping]] = ..., checksum: _Optional[int] = ...) -> None: ...

class StoredTable(_message.Message):
    __slots__ = ("run", "device", "round", "public_rows", "soft_labels")
    RUN_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    PUBLIC_ROWS_FIELD_NUMBER: _ClassVar[int]
    SOFT_LABELS_FIELD_NUMBER: _ClassVar[int]
    run: str
    device: str
    round: int
    public_rows: _containers.RepeatedScalarFieldContainer[int]
    soft_labels: SoftLabels
    def __init__(self, run: _Optional[str] = ..., device: _Optional[str] = ..., round: _Optional[int] = ..., public_rows: _Optional[_Iterable[int]] = ..., soft_labels: _Optional[_Union[SoftLabels, _Mapping]] = ...) -> None: ...

class StoredTables(_message.Message):
    __slots__ = ("protocol_version", "tables", "checksum")
    PROTOCOL_VERSION_FIELD_NUMBER: _ClassVar[int]
    TABLES_FIELD_NUMBER: _ClassVar[int]
    CHECKSUM_FIELD_NUMBER: _ClassVar[int]
    protocol_version: int
    tables: _containers.RepeatedCompositeFieldContainer[StoredTable]
    checksum: int
    def __init__(self, protocol_version: _Optional[int] = ..., tables: _Optional[_Iterable[_Union[StoredTable, _Mapping]]] = ..., checksum: _Optional[int] = ...) -> None: ...

class ParameterSpec(_message.Message):
    __slots__ = ("name", "shape")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    name: str
    shape: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, name: _Optional[str] = ..., shape: _Optional[_Iterable[int]] = ...) -> None: ...

class GraphPort(_message.Message):
    __slots__ = ("name", "shape", "element_type")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    ELEMENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    name: str
    shape: _containers.RepeatedScalarFieldContainer[int]
    element_type: str
    def __init__(self, name: _Optional[str] = ..., shape: _Optional[_Iterable[int]] = ..., element_type: _Optional[str] = ...) -> None: ...

class PackagePart(_message.Message):
    __slots__ = ("name", "sha256", "size_bytes")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    name: str
    sha256: str
    size_bytes: int
    def __init__(self, name: _Optional[str] = ..., sha256: _Optional[str] = ..., size_bytes: _Optional[int] = ...) -> None: ...

class QualityFigure(_message.Message):
    __slots__ = ("name", "value")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: float
    def __init__(self, name: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...

class QuantizedWeight(_message.Message):
    __slots__ = ("parameter", "block", "codes", "scales")
    PARAMETER_FIELD_NUMBER: _ClassVar[int]
    BLOCK_FIELD_NUMBER: _ClassVar[int]
    CODES_FIELD_NUMBER: _ClassVar[int]
    SCALES_FIELD_NUMBER: _ClassVar[int]
    parameter: str
    block: int
    codes: str
    scales: str
    def __init__(self, parameter: _Optional[str] = ..., block: _Optional[int] = ..., codes: _Optional[str] = ..., scales: _Optional[str] = ...) -> None: ...

class Vocabulary(_message.Message):
    __slots__ = ("size", "step_size", "tables", "tokenizer")
    SIZE_FIELD_NUMBER: _ClassVar[int]
    STEP_SIZE_FIELD_NUMBER: _ClassVar[int]
    TABLES_FIELD_NUMBER: _ClassVar[int]
    TOKENIZER_FIELD_NUMBER: _ClassVar[int]
    size: int
    step_size: int
    tables: _containers.RepeatedScalarFieldContainer[str]
    tokenizer: str
    def __init__(self, size: _Optional[int] = ..., step_size: _Optional[int] = ..., tables: _Optional[_Iterable[str]] = ..., tokenizer: _Optional[str] = ...) -> None: ...

class Subwords(_message.Message):
    __slots__ = ("places", "pad", "size", "library", "answer")
    PLACES_FIELD_NUMBER: _ClassVar[int]
    PAD_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    LIBRARY_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    places: int
    pad: int
    size: int
    library: str
    answer: str
    def __init__(self, places: _Optional[int] = ..., pad: _Optional[int] = ..., size: _Optional[int] = ..., library: _Optional[str] = ..., answer: _Optional[str] = ...) -> None: ...

class Streaming(_message.Message):
    __slots__ = ("state", "places")
    STATE_FIELD_NUMBER: _ClassVar[int]
    PLACES_FIELD_NUMBER: _ClassVar[int]
    state: _containers.RepeatedCompositeFieldContainer[GraphPort]
    places: int
    def __init__(self, state: _Optional[_Iterable[_Union[GraphPort, _Mapping]]] = ..., places: _Optional[int] = ...) -> None: ...

class InputRule(_message.Message):
    __slots__ = ("element_type", "channels_last", "offset", "scale", "usual")
    ELEMENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    CHANNELS_LAST_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    SCALE_FIELD_NUMBER: _ClassVar[int]
    USUAL_FIELD_NUMBER: _ClassVar[int]
    element_type: str
    channels_last: bool
    offset: _containers.RepeatedScalarFieldContainer[float]
    scale: _containers.RepeatedScalarFieldContainer[float]
    usual: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, element_type: _Optional[str] = ..., channels_last: _Optional[bool] = ..., offset: _Optional[_Iterable[float]] = ..., scale: _Optional[_Iterable[float]] = ..., usual: _Optional[_Iterable[float]] = ...) -> None: ...

class TableColumn(_message.Message):
    __slots__ = ("name", "kind", "categories", "mean", "scale")
    NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    CATEGORIES_FIELD_NUMBER: _ClassVar[int]
    MEAN_FIELD_NUMBER: _ClassVar[int]
    SCALE_FIELD_NUMBER: _ClassVar[int]
    name: str
    kind: str
    categories: _containers.RepeatedScalarFieldContainer[str]
    mean: float
    scale: float
    def __init__(self, name: _Optional[str] = ..., kind: _Optional[str] = ..., categories: _Optional[_Iterable[str]] = ..., mean: _Optional[float] = ..., scale: _Optional[float] = ...) -> None: ...

class TableColumns(_message.Message):
    __slots__ = ("columns", "missing", "label")
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    columns: _containers.RepeatedCompositeFieldContainer[TableColumn]
    missing: str
    label: str
    def __init__(self, columns: _Optional[_Iterable[_Union[TableColumn, _Mapping]]] = ..., missing: _Optional[str] = ..., label: _Optional[str] = ...) -> None: ...

class Target(_message.Message):
    __slots__ = ("kind", "size", "offset", "scale")
    KIND_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    SCALE_FIELD_NUMBER: _ClassVar[int]
    kind: str
    size: int
    offset: _containers.RepeatedScalarFieldContainer[float]
    scale: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, kind: _Optional[str] = ..., size: _Optional[int] = ..., offset: _Optional[_Iterable[float]] = ..., scale: _Optional[_Iterable[float]] = ...) -> None: ...

class StudentManifest(_message.Message):
    __slots__ = ("protocol_version", "family", "classes", "input_shape", "parameters", "parameter_count", "optimizer", "soft_labels", "k", "stack_size", "step_rows", "opset", "parts", "inputs", "outputs", "package_version", "lowest_agent_version", "quality", "quantized", "label_shape", "input_type", "vocabulary", "streaming", "external_weights", "feature_width", "frozen", "prefix_shape", "input_rule", "columns", "class_names", "buffers", "one_at_a_time", "target", "generation", "uniforms", "subwords")
    PROTOCOL_VERSION_FIELD_NUMBER: _ClassVar[int]
    FAMILY_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    INPUT_SHAPE_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    PARAMETER_COUNT_FIELD_NUMBER: _ClassVar[int]
    OPTIMIZER_FIELD_NUMBER: _ClassVar[int]
    SOFT_LABELS_FIELD_NUMBER: _ClassVar[int]
    K_FIELD_NUMBER: _ClassVar[int]
    STACK_SIZE_FIELD_NUMBER: _ClassVar[int]
    STEP_ROWS_FIELD_NUMBER: _ClassVar[int]
    OPSET_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    PACKAGE_VERSION_FIELD_NUMBER: _ClassVar[int]
    LOWEST_AGENT_VERSION_FIELD_NUMBER: _ClassVar[int]
    QUALITY_FIELD_NUMBER: _ClassVar[int]
    QUANTIZED_FIELD_NUMBER: _ClassVar[int]
    LABEL_SHAPE_FIELD_NUMBER: _ClassVar[int]
    INPUT_TYPE_FIELD_NUMBER: _ClassVar[int]
    VOCABULARY_FIELD_NUMBER: _ClassVar[int]
    STREAMING_FIELD_NUMBER: _ClassVar[int]
    EXTERNAL_WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    FEATURE_WIDTH_FIELD_NUMBER: _ClassVar[int]
    FROZEN_FIELD_NUMBER: _ClassVar[int]
    PREFIX_SHAPE_FIELD_NUMBER: _ClassVar[int]
    INPUT_RULE_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    CLASS_NAMES_FIELD_NUMBER: _ClassVar[int]
    BUFFERS_FIELD_NUMBER: _ClassVar[int]
    ONE_AT_A_TIME_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    UNIFORMS_FIELD_NUMBER: _ClassVar[int]
    SUBWORDS_FIELD_NUMBER: _ClassVar[int]
    protocol_version: int
    family: str
    classes: int
    input_shape: _containers.RepeatedScalarFieldContainer[int]
    parameters: _containers.RepeatedCompositeFieldContainer[ParameterSpec]
    parameter_count: int
    optimizer: Optimizer
    soft_labels: str
    k: int
    stack_size: int
    step_rows: int
    opset: int
    parts: _containers.RepeatedCompositeFieldContainer[PackagePart]
    inputs: _containers.RepeatedCompositeFieldContainer[GraphPort]
    outputs: _containers.RepeatedCompositeFieldContainer[GraphPort]
    package_version: int
    lowest_agent_version: str
    quality: _containers.RepeatedCompositeFieldContainer[QualityFigure]
    quantized: _containers.RepeatedCompositeFieldContainer[QuantizedWeight]
    label_shape: _containers.RepeatedScalarFieldContainer[int]
    input_type: str
    vocabulary: Vocabulary
    streaming: Streaming
    external_weights: bool
    feature_width: int
    frozen: _containers.RepeatedCompositeFieldContainer[ParameterSpec]
    prefix_shape: _containers.RepeatedScalarFieldContainer[int]
    input_rule: InputRule
    columns: TableColumns
    class_names: _containers.RepeatedScalarFieldContainer[str]
    buffers: _containers.RepeatedScalarFieldContainer[str]
    one_at_a_time: bool
    target: Target
    generation: int
    uniforms: _containers.RepeatedCompositeFieldContainer[GraphPort]
    subwords: Subwords
    def __init__(self, protocol_version: _Optional[int] = ..., family: _Optional[str] = ..., classes: _Optional[int] = ..., input_shape: _Optional[_Iterable[int]] = ..., parameters: _Optional[_Iterable[_Union[ParameterSpec, _Mapping]]] = ..., parameter_count: _Optional[int] = ..., optimizer: _Optional[_Union[Optimizer, str]] = ..., soft_labels: _Optional[str] = ..., k: _Optional[int] = ..., stack_size: _Optional[int] = ..., step_rows: _Optional[int] = ..., opset: _Optional[int] = ..., parts: _Optional[_Iterable[_Union[PackagePart, _Mapping]]] = ..., inputs: _Optional[_Iterable[_Union[GraphPort, _Mapping]]] = ..., outputs: _Optional[_Iterable[_Union[GraphPort, _Mapping]]] = ..., package_version: _Optional[int] = ..., lowest_agent_version: _Optional[str] = ..., quality: _Optional[_Iterable[_Union[QualityFigure, _Mapping]]] = ..., quantized: _Optional[_Iterable[_Union[QuantizedWeight, _Mapping]]] = ..., label_shape: _Optional[_Iterable[int]] = ..., input_type: _Optional[str] = ..., vocabulary: _Optional[_Union[Vocabulary, _Mapping]] = ..., streaming: _Optional[_Union[Streaming, _Mapping]] = ..., external_weights: _Optional[bool] = ..., feature_width: _Optional[int] = ..., frozen: _Optional[_Iterable[_Union[ParameterSpec, _Mapping]]] = ..., prefix_shape: _Optional[_Iterable[int]] = ..., input_rule: _Optional[_Union[InputRule, _Mapping]] = ..., columns: _Optional[_Union[TableColumns, _Mapping]] = ..., class_names: _Optional[_Iterable[str]] = ..., buffers: _Optional[_Iterable[str]] = ..., one_at_a_time: _Optional[bool] = ..., target: _Optional[_Union[Target, _Mapping]] = ..., generation: _Optional[int] = ..., uniforms: _Optional[_Iterable[_Union[GraphPort, _Mapping]]] = ..., subwords: _Optional[_Union[Subwords, _Mapping]] = ...) -> None: ...
