#!/bin/sh
# Makes the example client of fedstill's agent in Kotlin: build.sh PROTO_FOLDER OUT [JARS_FOLDER]
# It writes OUT/agent_client, which runs it. Jars are Debian's in /usr/share/java, or your own in JARS_FOLDER.
set -eu
proto=$1 out=$2 jars=${3:-/usr/share/java}
here=$(dirname "$0")
mkdir -p "$out/java" "$out/classes"
protoc -I "$proto" --java_out="$out/java" --grpc-java_out="$out/java" \
  --plugin=protoc-gen-grpc-java="$(command -v grpc_java_plugin)" "$proto/fedstill_proto/v1/agent.proto"
path=$(find "$jars" -maxdepth 1 \( -name 'grpc-*.jar' -o -name 'netty-*.jar' -o -name 'protobuf*.jar' \
  -o -name 'guava*.jar' -o -name 'failureaccess*.jar' -o -name '*perfmark*.jar' -o -name '*annotation*.jar' \
  -o -name 'kotlin-stdlib*.jar' \) | tr '\n' ':')
javac -nowarn -cp "$path" -d "$out/classes" "$out"/java/fedstill/v1/*.java
kotlinc -cp "$path:$out/classes" -d "$out/classes" "$here/AgentClient.kt"
printf '#!/bin/sh\nexec java -cp "%s:%s" AgentClientKt "$@"\n' "$out/classes" "$path" > "$out/agent_client"
chmod +x "$out/agent_client"
