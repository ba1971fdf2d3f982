// Asks fedstill's agent at its socket, in Kotlin: what an example is, and to keep one with its label.
//
//   java -cp ... AgentClientKt /var/lib/fedstill/agent.sock predict 0.1 0.9 ...
//   java -cp ... AgentClientKt /var/lib/fedstill/agent.sock observe 3 0.1 0.9 ...
//
// On Linux the socket is reached through Netty's epoll transport. On Android, give OkHttpChannelBuilder a
// socketFactory that opens an android.net.LocalSocket (Namespace.FILESYSTEM) at the same path; the rest stays.

import com.google.protobuf.ByteString
import fedstill.v1.AgentGrpc
import fedstill.v1.AgentOuterClass.AgentArray
import fedstill.v1.AgentOuterClass.ElementType
import fedstill.v1.AgentOuterClass.ObserveRequest
import fedstill.v1.AgentOuterClass.PredictRequest
import fedstill.v1.AgentOuterClass.StatusRequest
import io.grpc.ManagedChannel
import io.grpc.StatusRuntimeException
import io.grpc.netty.NettyChannelBuilder
import io.netty.channel.epoll.Epoll
import io.netty.channel.epoll.EpollDomainSocketChannel
import io.netty.channel.epoll.EpollEventLoopGroup
import io.netty.channel.unix.DomainSocketAddress
import java.io.Closeable
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.util.concurrent.TimeUnit
import kotlin.system.exitProcess

private const val WITHIN_S = 30L

/** An agent at its socket; an app runs as the user whom the agent's home belongs to. */
class AgentClient(socket: String) : Closeable {
    private val loop = EpollEventLoopGroup(1)
    private val channel: ManagedChannel = NettyChannelBuilder.forAddress(DomainSocketAddress(socket))
        .eventLoopGroup(loop)
        .channelType(EpollDomainSocketChannel::class.java)
        .overrideAuthority("localhost")
        .usePlaintext()
        .build()

    private fun agent() = AgentGrpc.newBlockingStub(channel).withDeadlineAfter(WITHIN_S, TimeUnit.SECONDS)

    /** The probability of each class, for one example. */
    fun predict(example: FloatArray): FloatArray {
        val answer = agent().predict(PredictRequest.newBuilder().setX(batch(example)).build())
        val data = answer.probabilities.data.asReadOnlyByteBuffer().order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer()
        return FloatArray(data.remaining()) { data.get(it) }
    }

    /** Keeps one example with its class; when it returns, the example is on the disk. */
    fun observe(example: FloatArray, label: Long): Long {
        val bytes = ByteBuffer.allocate(8).order(ByteOrder.LITTLE_ENDIAN).putLong(0, label)
        val labels = array(ElementType.ELEMENT_TYPE_INT64, listOf(1), bytes)
        val request = ObserveRequest.newBuilder().setX(batch(example)).setLabels(labels).build()
        return agent().observe(request).getExampleIds(0)
    }

    override fun close() {
        channel.shutdownNow()
        loop.shutdownGracefully(0, 1, TimeUnit.SECONDS)
    }

    /** A batch of one example, in the shape that the agent's student takes. */
    private fun batch(example: FloatArray): AgentArray {
        val shape = agent().status(StatusRequest.getDefaultInstance()).inputShapeList
        val count = shape.fold(1) { product, size -> product * size }
        require(example.size == count) { "an example has $count numbers" }
        val bytes = ByteBuffer.allocate(4 * example.size).order(ByteOrder.LITTLE_ENDIAN)
        bytes.asFloatBuffer().put(example)
        return array(ElementType.ELEMENT_TYPE_FLOAT32, listOf(1) + shape, bytes)
    }

    private fun array(type: ElementType, shape: List<Int>, bytes: ByteBuffer): AgentArray =
        AgentArray.newBuilder().setElementType(type).addAllShape(shape).setData(ByteString.copyFrom(bytes)).build()
}

fun main(words: Array<String>) {
    val what = words.getOrNull(1)
    val first = if (what == "observe") 3 else 2
    if ((what != "predict" && what != "observe") || words.size < first) {
        System.err.println("AgentClient SOCKET predict NUMBER... | SOCKET observe CLASS NUMBER...")
        exitProcess(2)
    }
    if (!Epoll.isAvailable()) {
        System.err.println("error: Netty's own library for this machine is missing: netty-transport-native-epoll, linux-x86_64")
        exitProcess(3)
    }
    val example = words.drop(first).map { it.toFloat() }.toFloatArray()
    try {
        AgentClient(words[0]).use { agent ->
            if (what == "observe") println("kept as example ${agent.observe(example, words[2].toLong())}")
            else agent.predict(example).forEach { println(it) }
        }
    } catch (error: StatusRuntimeException) {
        System.err.println("error: ${error.status.description ?: error.status.code}")
        exitProcess(1)
    }
}
