package engine;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;

import org.apache.camel.Exchange;
import org.apache.camel.builder.RouteBuilder;
import org.apache.camel.component.mllp.MllpConstants;
import org.apache.camel.main.BaseMainSupport;
import org.apache.camel.main.Main;
import org.apache.camel.main.MainListenerSupport;
import org.apache.camel.support.jsse.SSLContextParameters;

/**
 * A hospital's integration engine on Apache Camel. Outbound: every {@code *.hl7} file that appears in a folder is sent over MLLP
 * and the acknowledgement is kept. Inbound: an MLLP consumer stores what it receives and acknowledges it as the mode asks.
 */
public final class HospitalEngine {
    private static final String FLAGS = "tls reconnect as-is";
    private static final String KNOWN = "to outbox ack-timeout read-timeout connect-timeout retries retry-delay listen inbox mode idle-timeout";

    private final Hl7Text.Arguments options;
    private final Set<String> seenControlIds = ConcurrentHashMap.newKeySet();
    private final AtomicInteger received = new AtomicInteger();

    private HospitalEngine(Hl7Text.Arguments options) {
        this.options = options;
    }

    public static void main(String[] args) throws Exception {
        long begin = System.nanoTime();
        new HospitalEngine(new Hl7Text.Arguments(args, 0, FLAGS, KNOWN)).run(begin);
    }

    private void run(long begin) throws Exception {
        if (!options.has("to") && !options.has("listen")) {
            System.err.println("give --to HOST:PORT [--outbox DIR], --listen PORT [--inbox DIR] or both");
            System.exit(2);
        }
        Main main = new Main();
        main.configure().withShutdownTimeout(5);
        main.bind("jvmTrust", new SSLContextParameters());
        if (options.has("to")) {
            main.configure().addRoutesBuilder(outbound());
        }
        if (options.has("listen")) {
            main.configure().addRoutesBuilder(inbound());
        }
        main.addMainListener(new MainListenerSupport() {
            @Override
            public void afterStart(BaseMainSupport started) {
                Hl7Text.print("event", "ready", "ms", millisSince(begin), "pid", ProcessHandle.current().pid());
            }
        });
        main.run();
        System.exit(main.getExitCode());
    }

    private static long millisSince(long nanos) {
        return (System.nanoTime() - nanos) / 1_000_000;
    }

    // ---- outbound: folder -> MLLP ----

    private RouteBuilder outbound() {
        Path outbox = Path.of(options.get("outbox", "outbox")).toAbsolutePath();
        String files = "file:" + outbox + "?include=.*\\.hl7&sortBy=file:name&initialDelay=0&delay=50&bridgeErrorHandler=true"
                + "&move=sent/${file:name}&moveFailed=failed/${file:name}";
        String mllp = "mllp:" + options.get("to", null)
                + "?receiveTimeout=" + options.number("ack-timeout", 15000)
                + "&readTimeout=" + options.number("read-timeout", 5000)
                + "&connectTimeout=" + options.number("connect-timeout", 30000)
                + (options.has("idle-timeout") ? "&idleTimeout=" + options.number("idle-timeout", 0) : "")
                + (options.has("tls") ? "&sslContextParameters=#jvmTrust" : "");
        return new RouteBuilder() {
            @Override
            public void configure() {
                errorHandler(defaultErrorHandler()
                        .maximumRedeliveries(options.number("retries", 0))
                        .redeliveryDelay(options.number("retry-delay", 1000))
                        .logExhausted(false).logRetryAttempted(false));
                from(files).routeId("outbound")
                        .onCompletion().modeBeforeConsumer().process(exchange -> recordSent(outbox, exchange)).end()
                        .convertBodyTo(byte[].class)
                        .process(exchange -> {
                            byte[] file = exchange.getMessage().getBody(byte[].class);
                            byte[] message = options.has("as-is") ? file : Hl7Text.withCarriageReturns(file);
                            exchange.getMessage().setBody(message);
                            exchange.setProperty("sent", message);
                            exchange.setProperty("begin", System.nanoTime());
                            if (options.has("reconnect")) {
                                exchange.setProperty(MllpConstants.MLLP_CLOSE_CONNECTION_AFTER_SEND, true);
                            }
                        })
                        .to(mllp)
                        .process(exchange -> exchange.setProperty("delivered", true));
            }
        };
    }

    /** Writes {@code <name>.ack} (what the peer answered) and {@code <name>.error}, prints one line; runs before Camel moves the file. */
    private void recordSent(Path outbox, Exchange exchange) throws IOException {
        String file = exchange.getMessage().getHeader(Exchange.FILE_NAME_ONLY, String.class);
        byte[] ack = exchange.getMessage().getHeader(MllpConstants.MLLP_ACKNOWLEDGEMENT, byte[].class);
        // the caught exception of an earlier attempt stays on the exchange, also when a later attempt succeeds
        Throwable failure = exchange.getProperty("delivered", false, Boolean.class) ? null
                : exchange.getProperty(Exchange.EXCEPTION_CAUGHT, exchange.getException(), Throwable.class);
        String sent = Hl7Text.latin1(exchange.getProperty("sent", new byte[0], byte[].class));
        String answer = ack == null ? null : Hl7Text.latin1(ack);
        String name = file.replaceAll("\\.hl7$", "");
        Files.deleteIfExists(outbox.resolve(name + ".ack"));
        Files.deleteIfExists(outbox.resolve(name + ".error"));
        if (ack != null) {
            Hl7Text.store(outbox.resolve(name + ".ack"), ack);
        }
        if (failure != null) {
            Hl7Text.store(outbox.resolve(name + ".error"), failure.getClass().getSimpleName().getBytes(StandardCharsets.UTF_8));
        }
        Hl7Text.print("event", "sent", "file", file,
                "msh10", Hl7Text.field(sent, "MSH", 10),
                "accepted", failure == null,
                "camel_type", exchange.getMessage().getHeader(MllpConstants.MLLP_ACKNOWLEDGEMENT_TYPE, String.class),
                "msa1", answer == null ? null : Hl7Text.field(answer, "MSA", 1),
                "msa2_match", answer == null ? null : Hl7Text.field(answer, "MSA", 2).equals(Hl7Text.field(sent, "MSH", 10)),
                "ms", millisSince(exchange.getProperty("begin", System.nanoTime(), Long.class)),
                "redeliveries", exchange.getMessage().getHeader(Exchange.REDELIVERY_COUNTER, 0, Integer.class),
                "error", failure == null ? null : failure.getClass().getSimpleName(),
                "cause", failure == null || failure.getCause() == null ? null : failure.getCause().getClass().getSimpleName());
    }

    // ---- inbound: MLLP -> folder, with an answer as asked ----

    private RouteBuilder inbound() throws IOException {
        Path inbox = Path.of(options.get("inbox", "inbox")).toAbsolutePath();
        Files.createDirectories(inbox);
        if (options.has("mode")) {
            Hl7Text.store(inbox.resolve("mode"), options.get("mode", "AA").replace(',', '\n').getBytes(StandardCharsets.UTF_8));
        }
        String mllp = "mllp:127.0.0.1:" + options.number("listen", 2576)
                + "?stringPayload=false&maxConcurrentConsumers=20&bindTimeout=5000&bridgeErrorHandler=false"
                + (options.has("idle-timeout") ? "&idleTimeout=" + options.number("idle-timeout", 0) : "");
        return new RouteBuilder() {
            @Override
            public void configure() {
                from(mllp).routeId("inbound").process(exchange -> receive(inbox, exchange));
            }
        };
    }

    private void receive(Path inbox, Exchange exchange) throws Exception {
        byte[] message = exchange.getMessage().getBody(byte[].class);
        String text = Hl7Text.latin1(message);
        String controlId = Hl7Text.field(text, "MSH", 10);
        String name = String.format("%04d-%s.hl7", received.incrementAndGet(), controlId.replaceAll("[^A-Za-z0-9._-]", "_"));
        boolean again = !seenControlIds.add(controlId);
        String mode = nextMode(inbox.resolve("mode"));
        Hl7Text.store(inbox.resolve(name), message);
        Hl7Text.print("event", "received", "file", name, "bytes", message.length, "msh9", Hl7Text.field(text, "MSH", 9),
                "msh10", controlId, "again", again, "mode", mode,
                "peer", exchange.getMessage().getHeader(MllpConstants.MLLP_REMOTE_ADDRESS, String.class));
        answer(exchange, text, mode);
    }

    /** The first line of the mode file; a file of several lines loses the line it gave, so the last line stays in force. */
    private synchronized String nextMode(Path file) throws IOException {
        if (!Files.exists(file)) {
            return "AA";
        }
        List<String> lines = Files.readAllLines(file).stream().map(String::strip).filter(line -> !line.isEmpty()).toList();
        if (lines.size() > 1) {
            Hl7Text.store(file, String.join("\n", lines.subList(1, lines.size())).getBytes(StandardCharsets.UTF_8));
        }
        return lines.isEmpty() ? "AA" : lines.get(0);
    }

    private static void answer(Exchange exchange, String message, String mode) throws InterruptedException {
        String[] words = mode.split("\\s+", 2);
        String rest = words.length > 1 ? words[1] : "";
        String controlId = Hl7Text.field(message, "MSH", 10);
        switch (words[0]) {
            case "AA", "AE", "AR" -> { // Camel's own acknowledgement; the rest of the line is MSA-3
                exchange.setProperty(MllpConstants.MLLP_ACKNOWLEDGEMENT_TYPE, words[0]);
                exchange.setProperty(MllpConstants.MLLP_ACKNOWLEDGEMENT_MSA_TEXT, rest);
            }
            case "CA", "CE", "CR" -> own(exchange, acknowledgement(message, words[0], controlId, rest, "\r"));
            case "wrong-id" -> own(exchange, acknowledgement(message, "AA", "NOT-" + controlId, "", "\r"));
            case "no-msa" -> own(exchange, acknowledgement(message, "AA", controlId, "", "\r").replaceAll("MSA.*", ""));
            case "bad-code" -> own(exchange, acknowledgement(message, "OK", controlId, "", "\r"));
            case "lf" -> own(exchange, acknowledgement(message, "AA", controlId, "", "\n"));
            case "garbage" -> own(exchange, "this is not HL7");
            case "late" -> Thread.sleep(Long.parseLong(rest)); // then Camel's AA
            case "none" -> exchange.setProperty(MllpConstants.MLLP_AUTO_ACKNOWLEDGE, false);
            case "close" -> exchange.setProperty(MllpConstants.MLLP_CLOSE_CONNECTION_BEFORE_SEND, true);
            case "reset" -> exchange.setProperty(MllpConstants.MLLP_RESET_CONNECTION_BEFORE_SEND, true);
            case "AA-close" -> exchange.setProperty(MllpConstants.MLLP_CLOSE_CONNECTION_AFTER_SEND, true);
            default -> throw new IllegalArgumentException("unknown mode: " + mode); // Camel answers AE with the exception's class
        }
    }

    private static void own(Exchange exchange, String answer) {
        exchange.setProperty(MllpConstants.MLLP_ACKNOWLEDGEMENT, answer.getBytes(StandardCharsets.ISO_8859_1));
    }

    /** An acknowledgement that Camel would not write by itself; {@code text} becomes ERR-8 for CE and CR. */
    private static String acknowledgement(String message, String code, String controlId, String text, String end) {
        String version = Hl7Text.field(message, "MSH", 12);
        return "MSH|^~\\&|" + Hl7Text.field(message, "MSH", 5) + "|" + Hl7Text.field(message, "MSH", 6) + "|"
                + Hl7Text.field(message, "MSH", 3) + "|" + Hl7Text.field(message, "MSH", 4) + "|20260101120000+0000||ACK|E"
                + System.nanoTime() + "|P|" + (version.isEmpty() ? "2.5.1" : version) + end
                + "MSA|" + code + "|" + controlId + end
                + (text.isEmpty() ? "" : "ERR|||207^Application internal error^HL70357|E||||" + text + end);
    }
}
