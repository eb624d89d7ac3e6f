package engine;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** What both programs share: options, segment ends, MSH/MSA fields by bytes, JSON lines. */
final class Hl7Text {
    private Hl7Text() {
    }

    /** Options {@code --name value} (or {@code --flag}) and the remaining words. */
    static final class Arguments {
        final Map<String, String> options = new LinkedHashMap<>();
        final List<String> words = new ArrayList<>();

        Arguments(String[] args, int from, String flags, String known) {
            for (int i = from; i < args.length; i++) {
                if (!args[i].startsWith("--")) {
                    words.add(args[i]);
                    continue;
                }
                String name = args[i].substring(2);
                if ((" " + flags + " ").contains(" " + name + " ")) {
                    options.put(name, "true");
                } else if ((" " + known + " ").contains(" " + name + " ") && i + 1 < args.length) {
                    options.put(name, args[++i]);
                } else {
                    System.err.println("unknown option or missing value: " + args[i] + "\nflags: " + flags + "\noptions: " + known);
                    System.exit(2);
                }
            }
        }

        boolean has(String name) {
            return options.containsKey(name);
        }

        String get(String name, String otherwise) {
            return options.getOrDefault(name, otherwise);
        }

        int number(String name, int otherwise) {
            return Integer.parseInt(get(name, String.valueOf(otherwise)));
        }
    }

    /** Every segment ends with one CR: CR LF and LF become CR, empty segments go, one CR closes the message. */
    static byte[] withCarriageReturns(byte[] raw) {
        ByteArrayOutputStream out = new ByteArrayOutputStream(raw.length + 1);
        byte last = '\r';
        for (byte b : raw) {
            byte c = b == '\n' ? (byte) '\r' : b;
            if (c == '\r' && last == '\r') {
                continue;
            }
            out.write(c);
            last = c;
        }
        if (last != '\r') {
            out.write('\r');
        }
        return out.toByteArray();
    }

    static String latin1(byte[] raw) {
        return new String(raw, StandardCharsets.ISO_8859_1);
    }

    /** Field {@code number} of the first {@code segment}, as it stands (MSH-1 is the separator itself); "" where absent. */
    static String field(String message, String segment, int number) {
        for (String line : message.split("[\r\n]+")) {
            if (line.startsWith(segment) && line.length() > 3) {
                String[] fields = line.split(java.util.regex.Pattern.quote(line.substring(3, 4)), -1);
                int index = segment.equals("MSH") ? number - 1 : number;
                return index < fields.length ? fields[index] : "";
            }
        }
        return "";
    }

    /** Writes under another name first, so that a test that waits for the file never reads half of it. */
    static void store(Path target, byte[] content) throws IOException {
        Path partial = target.resolveSibling(target.getFileName() + ".part");
        Files.write(partial, content);
        Files.move(partial, target, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
    }

    /** One JSON object on one line of standard output; null values are left out. */
    static void print(Object... namesAndValues) {
        StringBuilder line = new StringBuilder("{");
        for (int i = 0; i < namesAndValues.length; i += 2) {
            Object value = namesAndValues[i + 1];
            if (value == null) {
                continue;
            }
            line.append(line.length() > 1 ? ", " : "").append(quote(namesAndValues[i].toString())).append(": ").append(json(value));
        }
        synchronized (System.out) {
            System.out.println(line.append('}'));
            System.out.flush();
        }
    }

    private static String json(Object value) {
        if (value instanceof Number || value instanceof Boolean) {
            return value.toString();
        }
        if (value instanceof List<?> list) {
            return "[" + String.join(", ", list.stream().map(Hl7Text::json).toList()) + "]";
        }
        return quote(value.toString());
    }

    private static String quote(String text) {
        StringBuilder out = new StringBuilder("\"");
        for (char c : text.toCharArray()) {
            if (c == '"' || c == '\\') {
                out.append('\\').append(c);
            } else if (c < 0x20 || c == 0x7f) {
                out.append(String.format("\\u%04x", (int) c));
            } else {
                out.append(c);
            }
        }
        return out.append('"').toString();
    }
}
