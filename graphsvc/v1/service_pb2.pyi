from graphsvc.v1 import graph_pb2 as _graph_pb2
from graphsvc.v1 import tensor_pb2 as _tensor_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DerivativeKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DERIVATIVE_KIND_UNSPECIFIED: _ClassVar[DerivativeKind]
    DERIVATIVE_KIND_JVP: _ClassVar[DerivativeKind]
    DERIVATIVE_KIND_HVP: _ClassVar[DerivativeKind]
    DERIVATIVE_KIND_JACOBIAN: _ClassVar[DerivativeKind]
    DERIVATIVE_KIND_HESSIAN: _ClassVar[DerivativeKind]
DERIVATIVE_KIND_UNSPECIFIED: DerivativeKind
DERIVATIVE_KIND_JVP: DerivativeKind
DERIVATIVE_KIND_HVP: DerivativeKind
DERIVATIVE_KIND_JACOBIAN: DerivativeKind
DERIVATIVE_KIND_HESSIAN: DerivativeKind

class NameList(_message.Message):
    __slots__ = ("names",)
    NAMES_FIELD_NUMBER: _ClassVar[int]
    names: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, names: _Optional[_Iterable[str]] = ...) -> None: ...

class NamedTensorList(_message.Message):
    __slots__ = ("tensors",)
    TENSORS_FIELD_NUMBER: _ClassVar[int]
    tensors: _containers.RepeatedCompositeFieldContainer[_tensor_pb2.NamedTensor]
    def __init__(self, tensors: _Optional[_Iterable[_Union[_tensor_pb2.NamedTensor, _Mapping]]] = ...) -> None: ...

class EvaluateRequest(_message.Message):
    __slots__ = ("graph", "graph_digest", "inputs", "outputs", "wrt", "output_gradients", "vectors", "residents", "debug")
    GRAPH_FIELD_NUMBER: _ClassVar[int]
    GRAPH_DIGEST_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    WRT_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_GRADIENTS_FIELD_NUMBER: _ClassVar[int]
    VECTORS_FIELD_NUMBER: _ClassVar[int]
    RESIDENTS_FIELD_NUMBER: _ClassVar[int]
    DEBUG_FIELD_NUMBER: _ClassVar[int]
    graph: _graph_pb2.Graph
    graph_digest: bytes
    inputs: _containers.RepeatedCompositeFieldContainer[_tensor_pb2.NamedTensor]
    outputs: NameList
    wrt: NameList
    output_gradients: NamedTensorList
    vectors: int
    residents: _containers.RepeatedCompositeFieldContainer[ResidentInput]
    debug: bool
    def __init__(self, graph: _Optional[_Union[_graph_pb2.Graph, _Mapping]] = ..., graph_digest: _Optional[bytes] = ..., inputs: _Optional[_Iterable[_Union[_tensor_pb2.NamedTensor, _Mapping]]] = ..., outputs: _Optional[_Union[NameList, _Mapping]] = ..., wrt: _Optional[_Union[NameList, _Mapping]] = ..., output_gradients: _Optional[_Union[NamedTensorList, _Mapping]] = ..., vectors: _Optional[int] = ..., residents: _Optional[_Iterable[_Union[ResidentInput, _Mapping]]] = ..., debug: _Optional[bool] = ...) -> None: ...

class ResidentInput(_message.Message):
    __slots__ = ("name", "digest")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    name: str
    digest: bytes
    def __init__(self, name: _Optional[str] = ..., digest: _Optional[bytes] = ...) -> None: ...

class EvaluateResponse(_message.Message):
    __slots__ = ("outputs", "input_gradients", "disconnected", "graph_digest", "diagnosis")
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    INPUT_GRADIENTS_FIELD_NUMBER: _ClassVar[int]
    DISCONNECTED_FIELD_NUMBER: _ClassVar[int]
    GRAPH_DIGEST_FIELD_NUMBER: _ClassVar[int]
    DIAGNOSIS_FIELD_NUMBER: _ClassVar[int]
    outputs: _containers.RepeatedCompositeFieldContainer[_tensor_pb2.NamedTensor]
    input_gradients: _containers.RepeatedCompositeFieldContainer[_tensor_pb2.NamedTensor]
    disconnected: _containers.RepeatedScalarFieldContainer[str]
    graph_digest: bytes
    diagnosis: Diagnosis
    def __init__(self, outputs: _Optional[_Iterable[_Union[_tensor_pb2.NamedTensor, _Mapping]]] = ..., input_gradients: _Optional[_Iterable[_Union[_tensor_pb2.NamedTensor, _Mapping]]] = ..., disconnected: _Optional[_Iterable[str]] = ..., graph_digest: _Optional[bytes] = ..., diagnosis: _Optional[_Union[Diagnosis, _Mapping]] = ...) -> None: ...

class Diagnosis(_message.Message):
    __slots__ = ("findings", "undefined")
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    UNDEFINED_FIELD_NUMBER: _ClassVar[int]
    findings: _containers.RepeatedCompositeFieldContainer[Finding]
    undefined: _containers.RepeatedCompositeFieldContainer[Undefined]
    def __init__(self, findings: _Optional[_Iterable[_Union[Finding, _Mapping]]] = ..., undefined: _Optional[_Iterable[_Union[Undefined, _Mapping]]] = ...) -> None: ...

class Finding(_message.Message):
    __slots__ = ("direction", "kind", "name", "node", "gate", "dtype", "size", "nans", "infinities", "index", "read", "cause")
    DIRECTION_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    GATE_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    NANS_FIELD_NUMBER: _ClassVar[int]
    INFINITIES_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    READ_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    direction: str
    kind: str
    name: str
    node: str
    gate: str
    dtype: str
    size: int
    nans: int
    infinities: int
    index: _containers.RepeatedScalarFieldContainer[int]
    read: _containers.RepeatedCompositeFieldContainer[ReadNumber]
    cause: str
    def __init__(self, direction: _Optional[str] = ..., kind: _Optional[str] = ..., name: _Optional[str] = ..., node: _Optional[str] = ..., gate: _Optional[str] = ..., dtype: _Optional[str] = ..., size: _Optional[int] = ..., nans: _Optional[int] = ..., infinities: _Optional[int] = ..., index: _Optional[_Iterable[int]] = ..., read: _Optional[_Iterable[_Union[ReadNumber, _Mapping]]] = ..., cause: _Optional[str] = ...) -> None: ...

class ReadNumber(_message.Message):
    __slots__ = ("name", "value")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: float
    def __init__(self, name: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...

class Undefined(_message.Message):
    __slots__ = ("node", "gate", "explanation")
    NODE_FIELD_NUMBER: _ClassVar[int]
    GATE_FIELD_NUMBER: _ClassVar[int]
    EXPLANATION_FIELD_NUMBER: _ClassVar[int]
    node: str
    gate: str
    explanation: str
    def __init__(self, node: _Optional[str] = ..., gate: _Optional[str] = ..., explanation: _Optional[str] = ...) -> None: ...

class DifferentiateRequest(_message.Message):
    __slots__ = ("graph", "graph_digest", "inputs", "outputs", "wrt", "output_gradients", "kind", "directions", "vectors", "residents")
    GRAPH_FIELD_NUMBER: _ClassVar[int]
    GRAPH_DIGEST_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    WRT_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_GRADIENTS_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    DIRECTIONS_FIELD_NUMBER: _ClassVar[int]
    VECTORS_FIELD_NUMBER: _ClassVar[int]
    RESIDENTS_FIELD_NUMBER: _ClassVar[int]
    graph: _graph_pb2.Graph
    graph_digest: bytes
    inputs: _containers.RepeatedCompositeFieldContainer[_tensor_pb2.NamedTensor]
    outputs: NameList
    wrt: NameList
    output_gradients: NamedTensorList
    kind: DerivativeKind
    directions: _containers.RepeatedCompositeFieldContainer[_tensor_pb2.NamedTensor]
    vectors: int
    residents: _containers.RepeatedCompositeFieldContainer[ResidentInput]
    def __init__(self, graph: _Optional[_Union[_graph_pb2.Graph, _Mapping]] = ..., graph_digest: _Optional[bytes] = ..., inputs: _Optional[_Iterable[_Union[_tensor_pb2.NamedTensor, _Mapping]]] = ..., outputs: _Optional[_Union[NameList, _Mapping]] = ..., wrt: _Optional[_Union[NameList, _Mapping]] = ..., output_gradients: _Optional[_Union[NamedTensorList, _Mapping]] = ..., kind: _Optional[_Union[DerivativeKind, str]] = ..., directions: _Optional[_Iterable[_Union[_tensor_pb2.NamedTensor, _Mapping]]] = ..., vectors: _Optional[int] = ..., residents: _Optional[_Iterable[_Union[ResidentInput, _Mapping]]] = ...) -> None: ...

class DifferentiateResponse(_message.Message):
    __slots__ = ("outputs", "output_tangents", "input_gradients", "products", "disconnected", "blocks", "graph_digest")
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_TANGENTS_FIELD_NUMBER: _ClassVar[int]
    INPUT_GRADIENTS_FIELD_NUMBER: _ClassVar[int]
    PRODUCTS_FIELD_NUMBER: _ClassVar[int]
    DISCONNECTED_FIELD_NUMBER: _ClassVar[int]
    BLOCKS_FIELD_NUMBER: _ClassVar[int]
    GRAPH_DIGEST_FIELD_NUMBER: _ClassVar[int]
    outputs: _containers.RepeatedCompositeFieldContainer[_tensor_pb2.NamedTensor]
    output_tangents: _containers.RepeatedCompositeFieldContainer[_tensor_pb2.NamedTensor]
    input_gradients: _containers.RepeatedCompositeFieldContainer[_tensor_pb2.NamedTensor]
    products: _containers.RepeatedCompositeFieldContainer[_tensor_pb2.NamedTensor]
    disconnected: _containers.RepeatedScalarFieldContainer[str]
    blocks: _containers.RepeatedCompositeFieldContainer[DerivativeBlock]
    graph_digest: bytes
    def __init__(self, outputs: _Optional[_Iterable[_Union[_tensor_pb2.NamedTensor, _Mapping]]] = ..., output_tangents: _Optional[_Iterable[_Union[_tensor_pb2.NamedTensor, _Mapping]]] = ..., input_gradients: _Optional[_Iterable[_Union[_tensor_pb2.NamedTensor, _Mapping]]] = ..., products: _Optional[_Iterable[_Union[_tensor_pb2.NamedTensor, _Mapping]]] = ..., disconnected: _Optional[_Iterable[str]] = ..., blocks: _Optional[_Iterable[_Union[DerivativeBlock, _Mapping]]] = ..., graph_digest: _Optional[bytes] = ...) -> None: ...

class DerivativeBlock(_message.Message):
    __slots__ = ("of", "by", "tensor")
    OF_FIELD_NUMBER: _ClassVar[int]
    BY_FIELD_NUMBER: _ClassVar[int]
    TENSOR_FIELD_NUMBER: _ClassVar[int]
    of: str
    by: str
    tensor: _tensor_pb2.Tensor
    def __init__(self, of: _Optional[str] = ..., by: _Optional[str] = ..., tensor: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ...) -> None: ...

class PutTensorRequest(_message.Message):
    __slots__ = ("tensor",)
    TENSOR_FIELD_NUMBER: _ClassVar[int]
    tensor: _tensor_pb2.Tensor
    def __init__(self, tensor: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ...) -> None: ...

class PutTensorResponse(_message.Message):
    __slots__ = ("digest", "seconds")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    digest: bytes
    seconds: float
    def __init__(self, digest: _Optional[bytes] = ..., seconds: _Optional[float] = ...) -> None: ...

class SessionRequest(_message.Message):
    __slots__ = ("id", "timeout_ms", "evaluate", "differentiate", "put_tensor", "chunk")
    ID_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    EVALUATE_FIELD_NUMBER: _ClassVar[int]
    DIFFERENTIATE_FIELD_NUMBER: _ClassVar[int]
    PUT_TENSOR_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    id: int
    timeout_ms: int
    evaluate: EvaluateRequest
    differentiate: DifferentiateRequest
    put_tensor: PutTensorRequest
    chunk: bytes
    def __init__(self, id: _Optional[int] = ..., timeout_ms: _Optional[int] = ..., evaluate: _Optional[_Union[EvaluateRequest, _Mapping]] = ..., differentiate: _Optional[_Union[DifferentiateRequest, _Mapping]] = ..., put_tensor: _Optional[_Union[PutTensorRequest, _Mapping]] = ..., chunk: _Optional[bytes] = ...) -> None: ...

class SessionResponse(_message.Message):
    __slots__ = ("id", "evaluate", "differentiate", "put_tensor", "status", "chunk")
    ID_FIELD_NUMBER: _ClassVar[int]
    EVALUATE_FIELD_NUMBER: _ClassVar[int]
    DIFFERENTIATE_FIELD_NUMBER: _ClassVar[int]
    PUT_TENSOR_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    id: int
    evaluate: EvaluateResponse
    differentiate: DifferentiateResponse
    put_tensor: PutTensorResponse
    status: bytes
    chunk: bytes
    def __init__(self, id: _Optional[int] = ..., evaluate: _Optional[_Union[EvaluateResponse, _Mapping]] = ..., differentiate: _Optional[_Union[DifferentiateResponse, _Mapping]] = ..., put_tensor: _Optional[_Union[PutTensorResponse, _Mapping]] = ..., status: _Optional[bytes] = ..., chunk: _Optional[bytes] = ...) -> None: ...

class ListGatesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListGatesResponse(_message.Message):
    __slots__ = ("gates",)
    GATES_FIELD_NUMBER: _ClassVar[int]
    gates: _containers.RepeatedCompositeFieldContainer[Gate]
    def __init__(self, gates: _Optional[_Iterable[_Union[Gate, _Mapping]]] = ...) -> None: ...

class Gate(_message.Message):
    __slots__ = ("name", "version", "documentation", "operands", "variadic", "outputs", "differentiable_operands", "attributes_schema", "deterministic")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DOCUMENTATION_FIELD_NUMBER: _ClassVar[int]
    OPERANDS_FIELD_NUMBER: _ClassVar[int]
    VARIADIC_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    DIFFERENTIABLE_OPERANDS_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_SCHEMA_FIELD_NUMBER: _ClassVar[int]
    DETERMINISTIC_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: int
    documentation: str
    operands: _containers.RepeatedScalarFieldContainer[str]
    variadic: bool
    outputs: _containers.RepeatedScalarFieldContainer[str]
    differentiable_operands: _containers.RepeatedScalarFieldContainer[str]
    attributes_schema: str
    deterministic: bool
    def __init__(self, name: _Optional[str] = ..., version: _Optional[int] = ..., documentation: _Optional[str] = ..., operands: _Optional[_Iterable[str]] = ..., variadic: _Optional[bool] = ..., outputs: _Optional[_Iterable[str]] = ..., differentiable_operands: _Optional[_Iterable[str]] = ..., attributes_schema: _Optional[str] = ..., deterministic: _Optional[bool] = ...) -> None: ...

class DescribeGateRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class DescribeGateResponse(_message.Message):
    __slots__ = ("gate", "plugin", "plugin_version", "integer_operands", "disconnected_operands", "elementwise", "linear", "example", "example_operands", "fuses", "reason", "derivatives")
    GATE_FIELD_NUMBER: _ClassVar[int]
    PLUGIN_FIELD_NUMBER: _ClassVar[int]
    PLUGIN_VERSION_FIELD_NUMBER: _ClassVar[int]
    INTEGER_OPERANDS_FIELD_NUMBER: _ClassVar[int]
    DISCONNECTED_OPERANDS_FIELD_NUMBER: _ClassVar[int]
    ELEMENTWISE_FIELD_NUMBER: _ClassVar[int]
    LINEAR_FIELD_NUMBER: _ClassVar[int]
    EXAMPLE_FIELD_NUMBER: _ClassVar[int]
    EXAMPLE_OPERANDS_FIELD_NUMBER: _ClassVar[int]
    FUSES_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DERIVATIVES_FIELD_NUMBER: _ClassVar[int]
    gate: Gate
    plugin: str
    plugin_version: str
    integer_operands: _containers.RepeatedScalarFieldContainer[str]
    disconnected_operands: _containers.RepeatedScalarFieldContainer[str]
    elementwise: bool
    linear: bool
    example: str
    example_operands: _containers.RepeatedCompositeFieldContainer[ExampleOperand]
    fuses: bool
    reason: str
    derivatives: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, gate: _Optional[_Union[Gate, _Mapping]] = ..., plugin: _Optional[str] = ..., plugin_version: _Optional[str] = ..., integer_operands: _Optional[_Iterable[str]] = ..., disconnected_operands: _Optional[_Iterable[str]] = ..., elementwise: _Optional[bool] = ..., linear: _Optional[bool] = ..., example: _Optional[str] = ..., example_operands: _Optional[_Iterable[_Union[ExampleOperand, _Mapping]]] = ..., fuses: _Optional[bool] = ..., reason: _Optional[str] = ..., derivatives: _Optional[_Iterable[str]] = ...) -> None: ...

class ExampleOperand(_message.Message):
    __slots__ = ("name", "spec")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    name: str
    spec: str
    def __init__(self, name: _Optional[str] = ..., spec: _Optional[str] = ...) -> None: ...

class GetServerInfoRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetServerInfoResponse(_message.Message):
    __slots__ = ("version", "dtypes", "limits", "plugins")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DTYPES_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    PLUGINS_FIELD_NUMBER: _ClassVar[int]
    version: str
    dtypes: _containers.RepeatedScalarFieldContainer[_tensor_pb2.Dtype]
    limits: _containers.RepeatedCompositeFieldContainer[Limit]
    plugins: _containers.RepeatedCompositeFieldContainer[Plugin]
    def __init__(self, version: _Optional[str] = ..., dtypes: _Optional[_Iterable[_Union[_tensor_pb2.Dtype, str]]] = ..., limits: _Optional[_Iterable[_Union[Limit, _Mapping]]] = ..., plugins: _Optional[_Iterable[_Union[Plugin, _Mapping]]] = ...) -> None: ...

class Limit(_message.Message):
    __slots__ = ("name", "value")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: float
    def __init__(self, name: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...

class Plugin(_message.Message):
    __slots__ = ("namespace", "distribution", "version", "state")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    DISTRIBUTION_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    distribution: str
    version: str
    state: str
    def __init__(self, namespace: _Optional[str] = ..., distribution: _Optional[str] = ..., version: _Optional[str] = ..., state: _Optional[str] = ...) -> None: ...
