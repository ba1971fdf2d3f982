from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ElementType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ELEMENT_TYPE_UNSPECIFIED: _ClassVar[ElementType]
    ELEMENT_TYPE_FLOAT32: _ClassVar[ElementType]
    ELEMENT_TYPE_INT64: _ClassVar[ElementType]
    ELEMENT_TYPE_UINT8: _ClassVar[ElementType]

class AnswerScope(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ANSWER_SCOPE_UNSPECIFIED: _ClassVar[AnswerScope]
    ANSWER_SCOPE_OWNER: _ClassVar[AnswerScope]
    ANSWER_SCOPE_EVERYONE: _ClassVar[AnswerScope]

class WordsAction(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    WORDS_ACTION_UNSPECIFIED: _ClassVar[WordsAction]
    WORDS_ACTION_LIST: _ClassVar[WordsAction]
    WORDS_ACTION_FORGET: _ClassVar[WordsAction]
    WORDS_ACTION_BLOCK: _ClassVar[WordsAction]
    WORDS_ACTION_UNBLOCK: _ClassVar[WordsAction]
    WORDS_ACTION_BLOCKED: _ClassVar[WordsAction]
    WORDS_ACTION_IMPORT: _ClassVar[WordsAction]
    WORDS_ACTION_EXPORT: _ClassVar[WordsAction]

class MemoryAction(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MEMORY_ACTION_UNSPECIFIED: _ClassVar[MemoryAction]
    MEMORY_ACTION_FACTS: _ClassVar[MemoryAction]
    MEMORY_ACTION_ADD: _ClassVar[MemoryAction]
    MEMORY_ACTION_ASK: _ClassVar[MemoryAction]
    MEMORY_ACTION_LIST: _ClassVar[MemoryAction]
    MEMORY_ACTION_FORGET: _ClassVar[MemoryAction]
ELEMENT_TYPE_UNSPECIFIED: ElementType
ELEMENT_TYPE_FLOAT32: ElementType
ELEMENT_TYPE_INT64: ElementType
ELEMENT_TYPE_UINT8: ElementType
ANSWER_SCOPE_UNSPECIFIED: AnswerScope
ANSWER_SCOPE_OWNER: AnswerScope
ANSWER_SCOPE_EVERYONE: AnswerScope
WORDS_ACTION_UNSPECIFIED: WordsAction
WORDS_ACTION_LIST: WordsAction
WORDS_ACTION_FORGET: WordsAction
WORDS_ACTION_BLOCK: WordsAction
WORDS_ACTION_UNBLOCK: WordsAction
WORDS_ACTION_BLOCKED: WordsAction
WORDS_ACTION_IMPORT: WordsAction
WORDS_ACTION_EXPORT: WordsAction
MEMORY_ACTION_UNSPECIFIED: MemoryAction
MEMORY_ACTION_FACTS: MemoryAction
MEMORY_ACTION_ADD: MemoryAction
MEMORY_ACTION_ASK: MemoryAction
MEMORY_ACTION_LIST: MemoryAction
MEMORY_ACTION_FORGET: MemoryAction

class AgentArray(_message.Message):
    __slots__ = ("element_type", "shape", "data")
    ELEMENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    element_type: ElementType
    shape: _containers.RepeatedScalarFieldContainer[int]
    data: bytes
    def __init__(self, element_type: _Optional[_Union[ElementType, str]] = ..., shape: _Optional[_Iterable[int]] = ..., data: _Optional[bytes] = ...) -> None: ...

class PredictRequest(_message.Message):
    __slots__ = ("x", "text", "k", "scope", "keep_unsure")
    X_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    K_FIELD_NUMBER: _ClassVar[int]
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    KEEP_UNSURE_FIELD_NUMBER: _ClassVar[int]
    x: AgentArray
    text: str
    k: int
    scope: AnswerScope
    keep_unsure: bool
    def __init__(self, x: _Optional[_Union[AgentArray, _Mapping]] = ..., text: _Optional[str] = ..., k: _Optional[int] = ..., scope: _Optional[_Union[AnswerScope, str]] = ..., keep_unsure: _Optional[bool] = ...) -> None: ...

class PredictResponse(_message.Message):
    __slots__ = ("probabilities", "intents", "sure", "notice", "slots")
    PROBABILITIES_FIELD_NUMBER: _ClassVar[int]
    INTENTS_FIELD_NUMBER: _ClassVar[int]
    SURE_FIELD_NUMBER: _ClassVar[int]
    NOTICE_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    probabilities: AgentArray
    intents: _containers.RepeatedCompositeFieldContainer[ScoredIntent]
    sure: bool
    notice: str
    slots: _containers.RepeatedCompositeFieldContainer[Slot]
    def __init__(self, probabilities: _Optional[_Union[AgentArray, _Mapping]] = ..., intents: _Optional[_Iterable[_Union[ScoredIntent, _Mapping]]] = ..., sure: _Optional[bool] = ..., notice: _Optional[str] = ..., slots: _Optional[_Iterable[_Union[Slot, _Mapping]]] = ...) -> None: ...

class Slot(_message.Message):
    __slots__ = ("name", "text", "begin", "end", "value", "unit")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    BEGIN_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    name: str
    text: str
    begin: int
    end: int
    value: str
    unit: str
    def __init__(self, name: _Optional[str] = ..., text: _Optional[str] = ..., begin: _Optional[int] = ..., end: _Optional[int] = ..., value: _Optional[str] = ..., unit: _Optional[str] = ...) -> None: ...

class ScoredIntent(_message.Message):
    __slots__ = ("name", "confidence")
    NAME_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    name: str
    confidence: float
    def __init__(self, name: _Optional[str] = ..., confidence: _Optional[float] = ...) -> None: ...

class ObserveRequest(_message.Message):
    __slots__ = ("x", "labels", "utterances", "label_names")
    X_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    UTTERANCES_FIELD_NUMBER: _ClassVar[int]
    LABEL_NAMES_FIELD_NUMBER: _ClassVar[int]
    x: AgentArray
    labels: AgentArray
    utterances: _containers.RepeatedCompositeFieldContainer[Utterance]
    label_names: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, x: _Optional[_Union[AgentArray, _Mapping]] = ..., labels: _Optional[_Union[AgentArray, _Mapping]] = ..., utterances: _Optional[_Iterable[_Union[Utterance, _Mapping]]] = ..., label_names: _Optional[_Iterable[str]] = ...) -> None: ...

class Utterance(_message.Message):
    __slots__ = ("text", "intent")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    INTENT_FIELD_NUMBER: _ClassVar[int]
    text: str
    intent: str
    def __init__(self, text: _Optional[str] = ..., intent: _Optional[str] = ...) -> None: ...

class ObserveResponse(_message.Message):
    __slots__ = ("example_ids", "notice")
    EXAMPLE_IDS_FIELD_NUMBER: _ClassVar[int]
    NOTICE_FIELD_NUMBER: _ClassVar[int]
    example_ids: _containers.RepeatedScalarFieldContainer[int]
    notice: str
    def __init__(self, example_ids: _Optional[_Iterable[int]] = ..., notice: _Optional[str] = ...) -> None: ...

class PersonalizeRequest(_message.Message):
    __slots__ = ("epochs", "batch_size", "learning_rate", "temperature", "soft_weight", "seed", "max_seconds", "max_steps")
    EPOCHS_FIELD_NUMBER: _ClassVar[int]
    BATCH_SIZE_FIELD_NUMBER: _ClassVar[int]
    LEARNING_RATE_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    SOFT_WEIGHT_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    MAX_SECONDS_FIELD_NUMBER: _ClassVar[int]
    MAX_STEPS_FIELD_NUMBER: _ClassVar[int]
    epochs: int
    batch_size: int
    learning_rate: float
    temperature: float
    soft_weight: float
    seed: int
    max_seconds: float
    max_steps: int
    def __init__(self, epochs: _Optional[int] = ..., batch_size: _Optional[int] = ..., learning_rate: _Optional[float] = ..., temperature: _Optional[float] = ..., soft_weight: _Optional[float] = ..., seed: _Optional[int] = ..., max_seconds: _Optional[float] = ..., max_steps: _Optional[int] = ...) -> None: ...

class PersonalizeUpdate(_message.Message):
    __slots__ = ("progress", "result")
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    progress: LearningProgress
    result: LearningResult
    def __init__(self, progress: _Optional[_Union[LearningProgress, _Mapping]] = ..., result: _Optional[_Union[LearningResult, _Mapping]] = ...) -> None: ...

class LearningProgress(_message.Message):
    __slots__ = ("steps", "epoch", "epochs", "training_loss", "seconds", "best")
    STEPS_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    EPOCHS_FIELD_NUMBER: _ClassVar[int]
    TRAINING_LOSS_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    BEST_FIELD_NUMBER: _ClassVar[int]
    steps: int
    epoch: int
    epochs: int
    training_loss: float
    seconds: float
    best: Score
    def __init__(self, steps: _Optional[int] = ..., epoch: _Optional[int] = ..., epochs: _Optional[int] = ..., training_loss: _Optional[float] = ..., seconds: _Optional[float] = ..., best: _Optional[_Union[Score, _Mapping]] = ...) -> None: ...

class Score(_message.Message):
    __slots__ = ("loss", "correct", "answers")
    LOSS_FIELD_NUMBER: _ClassVar[int]
    CORRECT_FIELD_NUMBER: _ClassVar[int]
    ANSWERS_FIELD_NUMBER: _ClassVar[int]
    loss: float
    correct: int
    answers: int
    def __init__(self, loss: _Optional[float] = ..., correct: _Optional[int] = ..., answers: _Optional[int] = ...) -> None: ...

class LearningResult(_message.Message):
    __slots__ = ("result", "words", "before", "after", "judged_on", "steps", "epochs", "seconds", "joules", "soft_labels", "soft_examples", "resumed")
    RESULT_FIELD_NUMBER: _ClassVar[int]
    WORDS_FIELD_NUMBER: _ClassVar[int]
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    JUDGED_ON_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    EPOCHS_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    JOULES_FIELD_NUMBER: _ClassVar[int]
    SOFT_LABELS_FIELD_NUMBER: _ClassVar[int]
    SOFT_EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    RESUMED_FIELD_NUMBER: _ClassVar[int]
    result: str
    words: str
    before: Score
    after: Score
    judged_on: str
    steps: int
    epochs: int
    seconds: float
    joules: float
    soft_labels: str
    soft_examples: int
    resumed: bool
    def __init__(self, result: _Optional[str] = ..., words: _Optional[str] = ..., before: _Optional[_Union[Score, _Mapping]] = ..., after: _Optional[_Union[Score, _Mapping]] = ..., judged_on: _Optional[str] = ..., steps: _Optional[int] = ..., epochs: _Optional[int] = ..., seconds: _Optional[float] = ..., joules: _Optional[float] = ..., soft_labels: _Optional[str] = ..., soft_examples: _Optional[int] = ..., resumed: _Optional[bool] = ...) -> None: ...

class StatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StatusResponse(_message.Message):
    __slots__ = ("device", "family", "package_version", "parameters", "input_type", "input_shape", "label_shape", "classes", "training_examples", "held_out_examples", "stored_bytes", "student_run", "student_round", "personalizing", "releases", "released_bytes", "agent_version", "precision", "epsilon_spent", "epsilon_budget", "delta", "releases_without_noise", "privacy_refusal", "class_names", "target", "columns", "texts")
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    FAMILY_FIELD_NUMBER: _ClassVar[int]
    PACKAGE_VERSION_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    INPUT_TYPE_FIELD_NUMBER: _ClassVar[int]
    INPUT_SHAPE_FIELD_NUMBER: _ClassVar[int]
    LABEL_SHAPE_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    TRAINING_EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    HELD_OUT_EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    STORED_BYTES_FIELD_NUMBER: _ClassVar[int]
    STUDENT_RUN_FIELD_NUMBER: _ClassVar[int]
    STUDENT_ROUND_FIELD_NUMBER: _ClassVar[int]
    PERSONALIZING_FIELD_NUMBER: _ClassVar[int]
    RELEASES_FIELD_NUMBER: _ClassVar[int]
    RELEASED_BYTES_FIELD_NUMBER: _ClassVar[int]
    AGENT_VERSION_FIELD_NUMBER: _ClassVar[int]
    PRECISION_FIELD_NUMBER: _ClassVar[int]
    EPSILON_SPENT_FIELD_NUMBER: _ClassVar[int]
    EPSILON_BUDGET_FIELD_NUMBER: _ClassVar[int]
    DELTA_FIELD_NUMBER: _ClassVar[int]
    RELEASES_WITHOUT_NOISE_FIELD_NUMBER: _ClassVar[int]
    PRIVACY_REFUSAL_FIELD_NUMBER: _ClassVar[int]
    CLASS_NAMES_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    TEXTS_FIELD_NUMBER: _ClassVar[int]
    device: str
    family: str
    package_version: int
    parameters: int
    input_type: ElementType
    input_shape: _containers.RepeatedScalarFieldContainer[int]
    label_shape: _containers.RepeatedScalarFieldContainer[int]
    classes: int
    training_examples: int
    held_out_examples: int
    stored_bytes: int
    student_run: str
    student_round: int
    personalizing: bool
    releases: int
    released_bytes: int
    agent_version: str
    precision: str
    epsilon_spent: float
    epsilon_budget: float
    delta: float
    releases_without_noise: int
    privacy_refusal: str
    class_names: _containers.RepeatedScalarFieldContainer[str]
    target: str
    columns: str
    texts: str
    def __init__(self, device: _Optional[str] = ..., family: _Optional[str] = ..., package_version: _Optional[int] = ..., parameters: _Optional[int] = ..., input_type: _Optional[_Union[ElementType, str]] = ..., input_shape: _Optional[_Iterable[int]] = ..., label_shape: _Optional[_Iterable[int]] = ..., classes: _Optional[int] = ..., training_examples: _Optional[int] = ..., held_out_examples: _Optional[int] = ..., stored_bytes: _Optional[int] = ..., student_run: _Optional[str] = ..., student_round: _Optional[int] = ..., personalizing: _Optional[bool] = ..., releases: _Optional[int] = ..., released_bytes: _Optional[int] = ..., agent_version: _Optional[str] = ..., precision: _Optional[str] = ..., epsilon_spent: _Optional[float] = ..., epsilon_budget: _Optional[float] = ..., delta: _Optional[float] = ..., releases_without_noise: _Optional[int] = ..., privacy_refusal: _Optional[str] = ..., class_names: _Optional[_Iterable[str]] = ..., target: _Optional[str] = ..., columns: _Optional[str] = ..., texts: _Optional[str] = ...) -> None: ...

class ForgetRequest(_message.Message):
    __slots__ = ("example_ids", "before_seconds", "everything")
    EXAMPLE_IDS_FIELD_NUMBER: _ClassVar[int]
    BEFORE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    EVERYTHING_FIELD_NUMBER: _ClassVar[int]
    example_ids: _containers.RepeatedScalarFieldContainer[int]
    before_seconds: float
    everything: bool
    def __init__(self, example_ids: _Optional[_Iterable[int]] = ..., before_seconds: _Optional[float] = ..., everything: _Optional[bool] = ...) -> None: ...

class ForgetResponse(_message.Message):
    __slots__ = ("examples", "students", "learning")
    EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    STUDENTS_FIELD_NUMBER: _ClassVar[int]
    LEARNING_FIELD_NUMBER: _ClassVar[int]
    examples: int
    students: int
    learning: bool
    def __init__(self, examples: _Optional[int] = ..., students: _Optional[int] = ..., learning: _Optional[bool] = ...) -> None: ...

class SuggestRequest(_message.Message):
    __slots__ = ("context", "prefix", "k", "layout", "private")
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    K_FIELD_NUMBER: _ClassVar[int]
    LAYOUT_FIELD_NUMBER: _ClassVar[int]
    PRIVATE_FIELD_NUMBER: _ClassVar[int]
    context: str
    prefix: str
    k: int
    layout: str
    private: bool
    def __init__(self, context: _Optional[str] = ..., prefix: _Optional[str] = ..., k: _Optional[int] = ..., layout: _Optional[str] = ..., private: _Optional[bool] = ...) -> None: ...

class SuggestResponse(_message.Message):
    __slots__ = ("suggestions",)
    SUGGESTIONS_FIELD_NUMBER: _ClassVar[int]
    suggestions: _containers.RepeatedCompositeFieldContainer[Suggestion]
    def __init__(self, suggestions: _Optional[_Iterable[_Union[Suggestion, _Mapping]]] = ...) -> None: ...

class Suggestion(_message.Message):
    __slots__ = ("word", "chance", "kind", "own")
    WORD_FIELD_NUMBER: _ClassVar[int]
    CHANCE_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    OWN_FIELD_NUMBER: _ClassVar[int]
    word: str
    chance: float
    kind: str
    own: bool
    def __init__(self, word: _Optional[str] = ..., chance: _Optional[float] = ..., kind: _Optional[str] = ..., own: _Optional[bool] = ...) -> None: ...

class ObserveTextRequest(_message.Message):
    __slots__ = ("text", "private")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    PRIVATE_FIELD_NUMBER: _ClassVar[int]
    text: str
    private: bool
    def __init__(self, text: _Optional[str] = ..., private: _Optional[bool] = ...) -> None: ...

class ObserveTextResponse(_message.Message):
    __slots__ = ("text_id", "left_out")
    TEXT_ID_FIELD_NUMBER: _ClassVar[int]
    LEFT_OUT_FIELD_NUMBER: _ClassVar[int]
    text_id: int
    left_out: int
    def __init__(self, text_id: _Optional[int] = ..., left_out: _Optional[int] = ...) -> None: ...

class OwnWord(_message.Message):
    __slots__ = ("word", "count", "last_seconds", "imported")
    WORD_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    LAST_SECONDS_FIELD_NUMBER: _ClassVar[int]
    IMPORTED_FIELD_NUMBER: _ClassVar[int]
    word: str
    count: int
    last_seconds: float
    imported: bool
    def __init__(self, word: _Optional[str] = ..., count: _Optional[int] = ..., last_seconds: _Optional[float] = ..., imported: _Optional[bool] = ...) -> None: ...

class WordsRequest(_message.Message):
    __slots__ = ("action", "words")
    ACTION_FIELD_NUMBER: _ClassVar[int]
    WORDS_FIELD_NUMBER: _ClassVar[int]
    action: WordsAction
    words: _containers.RepeatedCompositeFieldContainer[OwnWord]
    def __init__(self, action: _Optional[_Union[WordsAction, str]] = ..., words: _Optional[_Iterable[_Union[OwnWord, _Mapping]]] = ...) -> None: ...

class WordsResponse(_message.Message):
    __slots__ = ("words", "changed", "texts", "students", "left_out", "learning")
    WORDS_FIELD_NUMBER: _ClassVar[int]
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    TEXTS_FIELD_NUMBER: _ClassVar[int]
    STUDENTS_FIELD_NUMBER: _ClassVar[int]
    LEFT_OUT_FIELD_NUMBER: _ClassVar[int]
    LEARNING_FIELD_NUMBER: _ClassVar[int]
    words: _containers.RepeatedCompositeFieldContainer[OwnWord]
    changed: int
    texts: int
    students: int
    left_out: int
    learning: bool
    def __init__(self, words: _Optional[_Iterable[_Union[OwnWord, _Mapping]]] = ..., changed: _Optional[int] = ..., texts: _Optional[int] = ..., students: _Optional[int] = ..., left_out: _Optional[int] = ..., learning: _Optional[bool] = ...) -> None: ...

class UnclearRequest(_message.Message):
    __slots__ = ("limit",)
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    limit: int
    def __init__(self, limit: _Optional[int] = ...) -> None: ...

class UnclearResponse(_message.Message):
    __slots__ = ("utterances", "in_all", "intents")
    UTTERANCES_FIELD_NUMBER: _ClassVar[int]
    IN_ALL_FIELD_NUMBER: _ClassVar[int]
    INTENTS_FIELD_NUMBER: _ClassVar[int]
    utterances: _containers.RepeatedCompositeFieldContainer[UnclearUtterance]
    in_all: int
    intents: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, utterances: _Optional[_Iterable[_Union[UnclearUtterance, _Mapping]]] = ..., in_all: _Optional[int] = ..., intents: _Optional[_Iterable[str]] = ...) -> None: ...

class UnclearUtterance(_message.Message):
    __slots__ = ("id", "text", "heard_at", "intents")
    ID_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    HEARD_AT_FIELD_NUMBER: _ClassVar[int]
    INTENTS_FIELD_NUMBER: _ClassVar[int]
    id: int
    text: str
    heard_at: float
    intents: _containers.RepeatedCompositeFieldContainer[ScoredIntent]
    def __init__(self, id: _Optional[int] = ..., text: _Optional[str] = ..., heard_at: _Optional[float] = ..., intents: _Optional[_Iterable[_Union[ScoredIntent, _Mapping]]] = ...) -> None: ...

class ReviewRequest(_message.Message):
    __slots__ = ("id", "intent", "drop")
    ID_FIELD_NUMBER: _ClassVar[int]
    INTENT_FIELD_NUMBER: _ClassVar[int]
    DROP_FIELD_NUMBER: _ClassVar[int]
    id: int
    intent: str
    drop: bool
    def __init__(self, id: _Optional[int] = ..., intent: _Optional[str] = ..., drop: _Optional[bool] = ...) -> None: ...

class ReviewResponse(_message.Message):
    __slots__ = ("example_ids", "left")
    EXAMPLE_IDS_FIELD_NUMBER: _ClassVar[int]
    LEFT_FIELD_NUMBER: _ClassVar[int]
    example_ids: _containers.RepeatedScalarFieldContainer[int]
    left: int
    def __init__(self, example_ids: _Optional[_Iterable[int]] = ..., left: _Optional[int] = ...) -> None: ...

class EmbedRequest(_message.Message):
    __slots__ = ("texts",)
    TEXTS_FIELD_NUMBER: _ClassVar[int]
    texts: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, texts: _Optional[_Iterable[str]] = ...) -> None: ...

class EmbedResponse(_message.Message):
    __slots__ = ("vectors",)
    VECTORS_FIELD_NUMBER: _ClassVar[int]
    vectors: AgentArray
    def __init__(self, vectors: _Optional[_Union[AgentArray, _Mapping]] = ...) -> None: ...

class MemoryRequest(_message.Message):
    __slots__ = ("action", "texts", "label", "source", "k", "ids", "everything", "before_id")
    ACTION_FIELD_NUMBER: _ClassVar[int]
    TEXTS_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    K_FIELD_NUMBER: _ClassVar[int]
    IDS_FIELD_NUMBER: _ClassVar[int]
    EVERYTHING_FIELD_NUMBER: _ClassVar[int]
    BEFORE_ID_FIELD_NUMBER: _ClassVar[int]
    action: MemoryAction
    texts: _containers.RepeatedScalarFieldContainer[str]
    label: str
    source: str
    k: int
    ids: _containers.RepeatedScalarFieldContainer[int]
    everything: bool
    before_id: int
    def __init__(self, action: _Optional[_Union[MemoryAction, str]] = ..., texts: _Optional[_Iterable[str]] = ..., label: _Optional[str] = ..., source: _Optional[str] = ..., k: _Optional[int] = ..., ids: _Optional[_Iterable[int]] = ..., everything: _Optional[bool] = ..., before_id: _Optional[int] = ...) -> None: ...

class MemoryResponse(_message.Message):
    __slots__ = ("memories", "classes", "share", "forgotten", "more", "facts")
    MEMORIES_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    SHARE_FIELD_NUMBER: _ClassVar[int]
    FORGOTTEN_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    FACTS_FIELD_NUMBER: _ClassVar[int]
    memories: _containers.RepeatedCompositeFieldContainer[KeptMemory]
    classes: _containers.RepeatedCompositeFieldContainer[ScoredIntent]
    share: float
    forgotten: int
    more: bool
    facts: MemoryFacts
    def __init__(self, memories: _Optional[_Iterable[_Union[KeptMemory, _Mapping]]] = ..., classes: _Optional[_Iterable[_Union[ScoredIntent, _Mapping]]] = ..., share: _Optional[float] = ..., forgotten: _Optional[int] = ..., more: _Optional[bool] = ..., facts: _Optional[_Union[MemoryFacts, _Mapping]] = ...) -> None: ...

class KeptMemory(_message.Message):
    __slots__ = ("id", "text", "label", "source", "kept_seconds", "similarity")
    ID_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    KEPT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    SIMILARITY_FIELD_NUMBER: _ClassVar[int]
    id: int
    text: str
    label: str
    source: str
    kept_seconds: float
    similarity: float
    def __init__(self, id: _Optional[int] = ..., text: _Optional[str] = ..., label: _Optional[str] = ..., source: _Optional[str] = ..., kept_seconds: _Optional[float] = ..., similarity: _Optional[float] = ...) -> None: ...

class MemoryFacts(_message.Message):
    __slots__ = ("memories", "bytes", "most", "max_bytes", "labelled", "sources")
    class SourcesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    MEMORIES_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    MOST_FIELD_NUMBER: _ClassVar[int]
    MAX_BYTES_FIELD_NUMBER: _ClassVar[int]
    LABELLED_FIELD_NUMBER: _ClassVar[int]
    SOURCES_FIELD_NUMBER: _ClassVar[int]
    memories: int
    bytes: int
    most: int
    max_bytes: int
    labelled: int
    sources: _containers.ScalarMap[str, int]
    def __init__(self, memories: _Optional[int] = ..., bytes: _Optional[int] = ..., most: _Optional[int] = ..., max_bytes: _Optional[int] = ..., labelled: _Optional[int] = ..., sources: _Optional[_Mapping[str, int]] = ...) -> None: ...
