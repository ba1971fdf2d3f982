// Asks fedstill's agent at its socket, in C++: what an example is, and to keep one with its label.
//
//   agent_client /var/lib/fedstill/agent.sock predict 0.1 0.9 ...
//   agent_client /var/lib/fedstill/agent.sock observe 3 0.1 0.9 ...
//
// An app runs as the user whom the agent's home belongs to: the kernel lets nobody else connect.

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <cstring>
#include <iostream>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "fedstill_proto/v1/agent.grpc.pb.h"

namespace {

namespace v1 = fedstill::v1;
constexpr auto kWithin = std::chrono::seconds(30);

// Numbers travel little endian and row-major, as this machine has them.
template <typename T>
v1::AgentArray Array(v1::ElementType type, const std::vector<std::uint32_t>& shape, const std::vector<T>& values) {
  v1::AgentArray array;
  array.set_element_type(type);
  for (std::uint32_t size : shape) array.add_shape(size);
  array.set_data(values.data(), values.size() * sizeof(T));
  return array;
}

class Agent {
 public:
  explicit Agent(const std::string& socket)
      : stub_(v1::Agent::NewStub(grpc::CreateChannel("unix:" + socket, grpc::InsecureChannelCredentials()))) {}

  v1::StatusResponse Status() { return Call<v1::StatusResponse>(&v1::Agent::Stub::Status, v1::StatusRequest()); }

  // The probability of each class, for one example.
  std::vector<float> Predict(const std::vector<float>& example) {
    v1::PredictRequest request;
    *request.mutable_x() = Example(example);
    const auto answer = Call<v1::PredictResponse>(&v1::Agent::Stub::Predict, request);
    const std::string& data = answer.probabilities().data();
    std::vector<float> probabilities(data.size() / sizeof(float));
    std::memcpy(probabilities.data(), data.data(), data.size());
    return probabilities;
  }

  // Keeps one example with its class; when it returns, the example is on the disk.
  std::uint64_t Observe(const std::vector<float>& example, std::int64_t label) {
    v1::ObserveRequest request;
    *request.mutable_x() = Example(example);
    *request.mutable_labels() = Array<std::int64_t>(v1::ELEMENT_TYPE_INT64, {1}, {label});
    return Call<v1::ObserveResponse>(&v1::Agent::Stub::Observe, request).example_ids(0);
  }

 private:
  // A batch of one example, in the shape that the agent's student takes.
  v1::AgentArray Example(const std::vector<float>& example) {
    std::vector<std::uint32_t> shape{1};
    std::size_t count = 1;
    const v1::StatusResponse status = Status();
    for (std::uint32_t size : status.input_shape()) {
      shape.push_back(size);
      count *= size;
    }
    if (example.size() != count) {
      throw std::runtime_error("an example has " + std::to_string(count) + " numbers");
    }
    return Array(v1::ELEMENT_TYPE_FLOAT32, shape, example);
  }

  template <typename Response, typename Request, typename Method>
  Response Call(Method method, const Request& request) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + kWithin);
    Response response;
    const grpc::Status status = ((*stub_).*method)(&context, request, &response);
    if (!status.ok()) throw std::runtime_error(status.error_message());
    return response;
  }

  std::unique_ptr<v1::Agent::Stub> stub_;
};

}  // namespace

int main(int argc, char** argv) {
  const std::string what = argc > 2 ? argv[2] : "";
  const int first = what == "observe" ? 4 : 3;
  if ((what != "predict" && what != "observe") || argc < first) {
    std::cerr << "agent_client SOCKET predict NUMBER... | SOCKET observe CLASS NUMBER...\n";
    return 2;
  }
  try {
    std::vector<float> example;
    for (int place = first; place < argc; ++place) example.push_back(std::stof(argv[place]));
    Agent agent(argv[1]);
    if (what == "observe") {
      std::cout << "kept as example " << agent.Observe(example, std::stoll(argv[3])) << "\n";
    } else {
      for (float probability : agent.Predict(example)) std::cout << probability << "\n";
    }
  } catch (const std::exception& error) {
    std::cerr << "error: " << error.what() << "\n";
    return 1;
  }
}
