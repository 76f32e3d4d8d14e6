"""Print the answer of an agent or language model as it arrives.

python examples/stream.py ENDPOINT "What is a lakehouse?"
"""

import sys

from servingclient import ServingClient, ServingError, Settings


def main(endpoint: str, question: str) -> int:
    messages = {"messages": [{"role": "user", "content": question}]}
    with ServingClient(endpoint, settings=Settings.llm()) as client:
        try:
            with client.stream(messages) as events:
                for event in events:
                    delta = event["choices"][0]["delta"]
                    print(delta.get("content") or "", end="", flush=True)
        except ServingError as error:
            print(f"\n{type(error).__name__}: {error}", file=sys.stderr)
            return 1
    print()
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1], sys.argv[2]))
