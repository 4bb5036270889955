# The program for a processor, without PyTorch: docker build -t kcam-pose .
# How to run it: docs/deploy.md. Nothing is compiled here: all packages come as wheels.
FROM python:3.12-slim

# What the wheel of opencv-python expects of the system.
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*

# The packages first: they change less often than the program, and this layer is kept until they do.
COPY requirements-run.txt requirements-demo.txt /tmp/
RUN python -m pip install --no-cache-dir --no-compile -r /tmp/requirements-run.txt \
    && python -m pip install --no-cache-dir --no-compile --no-deps -r /tmp/requirements-demo.txt

COPY . /tmp/source
RUN python -m pip install --no-cache-dir --no-deps /tmp/source && rm -rf /tmp/source

RUN useradd --create-home pose && mkdir /work && chown pose:pose /work
USER pose
WORKDIR /work
ENTRYPOINT ["kcam-pose"]
CMD ["--doctor"]
