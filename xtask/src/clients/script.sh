# Every step runs in a shell of its own, in one folder that holds objects.yaml; kubectl's kubeconfig is set.

## namespace
kubectl create namespace clients
kubectl config set-context --current --namespace clients >/dev/null
for i in $(seq 100); do kubectl get serviceaccount default configmap/kube-root-ca.crt >/dev/null 2>&1 && break; sleep 0.1; done
kubectl get serviceaccounts,configmaps

## apply
kubectl apply -f objects.yaml

## apply-again
kubectl apply -f objects.yaml

## wait
kubectl wait --for=condition=Ready pod/web --timeout=60s

## get
kubectl get pods,configmaps,services,pvc,roles,rolebindings

## get-wide
kubectl get pods,services,pvc,rolebindings -o wide

## get-labels
kubectl get pods --show-labels -L app

## get-nodes
kubectl get nodes

## get-namespaces
kubectl get namespaces

## get-yaml
kubectl get pod web -o yaml

## get-yaml-others
kubectl get configmap/settings service/web pvc/data role/reader rolebinding/reader -o yaml

## get-managed-fields
kubectl get configmap settings -o yaml --show-managed-fields

## get-jsonpath
kubectl get pod web -o jsonpath='{.spec.containers[*].name} {.status.phase} {.status.qosClass}{"\n"}'

## get-custom-columns
kubectl get pods -o custom-columns=NAME:.metadata.name,PHASE:.status.phase

## get-name
kubectl get all -o name

## get-missing
kubectl get pod nobody
kubectl get nothings
kubectl get pods -n nowhere

## get-selector
kubectl get pods -l app=clients,app!=others
kubectl get pods -l app=nothing
kubectl get pods --field-selector status.phase=Running,spec.nodeName!=x
kubectl get pods --field-selector nosuch=1

## watch
timeout 3 kubectl get configmaps -w -l watched=yes &
sleep 1
kubectl create configmap watched >/dev/null
kubectl label configmap watched watched=yes >/dev/null
kubectl delete configmap watched >/dev/null
wait

## describe-pod
kubectl describe pod web

## describe-others
kubectl describe configmap/settings | sort
kubectl describe service/web pvc/data role/reader rolebinding/reader serviceaccount/default namespace/clients | grep -v -e Endpoints -e "^IP" -e "^Events" -e "^  Type " -e "^  ---- " -e ProvisioningFailed

## logs
kubectl logs web
kubectl logs web -c first
kubectl logs web --tail=2
kubectl logs web -c nobody
kubectl logs nobody

## logs-follow
timeout 2 kubectl logs -f web --tail=3

## logs-timestamps
kubectl logs web --timestamps --tail=1

## exec
kubectl exec web -- sh -c 'echo $COLOUR; cat /settings/file.txt; exit 3'
echo piped | kubectl exec -i web -- cat
kubectl exec web -- nosuchprogram 2>&1 | grep -c .
kubectl exec nobody -- true

## create-configmap
printf 'a=b\n' >literal.txt
kubectl create configmap made --from-literal=x=y --from-file=literal.txt
kubectl get configmap made -o jsonpath='{.data}'
kubectl create configmap made

## create-secret
kubectl create secret generic hidden --from-literal=word=open
kubectl get secret hidden -o yaml
kubectl describe secret hidden
kubectl get secrets

## label
kubectl label pod web tier=front
kubectl label pod web tier=back
kubectl label pod web tier=back --overwrite
kubectl label pod web tier-
kubectl label pod web 'bad label=x'

## annotate
kubectl annotate pod web note=hello
kubectl annotate pod web note=bye
kubectl annotate pod web note-

## patch
kubectl patch configmap settings -p '{"data":{"colour":"red"}}'
kubectl patch configmap settings --type=json -p '[{"op":"add","path":"/data/size","value":"big"}]'
kubectl patch configmap settings --type=merge -p '{"data":{"size":null}}'
kubectl get configmap settings -o jsonpath='{.data}'
kubectl patch pod web -p '{"spec":{"containers":[{"name":"main","image":"other"}],"nodeName":"x"}}'
kubectl patch configmap settings --type=json -p '[{"op":"remove","path":"/data/none"}]'

## edit
printf '#!/bin/sh\nsed -i s/red/green/ "$1"\n' >editor; chmod +x editor
KUBE_EDITOR=./editor kubectl edit configmap settings
KUBE_EDITOR=true kubectl edit configmap settings
kubectl get configmap settings -o jsonpath='{.data.colour}'

## replace
kubectl get configmap settings -o yaml | sed s/green/yellow/ | kubectl replace -f -
kubectl get configmap settings -o yaml | sed 's/resourceVersion: .*/resourceVersion: "1"/' | kubectl replace -f - 2>&1 | sed 's/"[^"]*STDIN[^"]*"/STDIN/'

## server-side-apply
kubectl create configmap shared --from-literal=a=1
printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: shared}\ndata: {a: "2", b: "1"}\n' >shared.yaml
kubectl apply --server-side -f shared.yaml
kubectl apply --server-side --force-conflicts -f shared.yaml
kubectl apply --server-side -f shared.yaml --field-manager=other
kubectl get configmap shared -o yaml --show-managed-fields

## dry-run
kubectl create configmap dry --from-literal=a=b --dry-run=server -o yaml
kubectl apply -f objects.yaml --dry-run=server
kubectl get configmap dry

## diff
sed s/blue/black/ objects.yaml | kubectl diff -f - | grep '^[-+] '

## refused
printf 'apiVersion: v1\nkind: Pod\nmetadata: {name: Bad_Name}\nspec: {containers: []}\n' | kubectl apply -f -
printf 'apiVersion: v1\nkind: Pod\nmetadata: {name: typo}\nspec: {containerz: []}\n' | kubectl apply -f -
printf 'apiVersion: v1\nkind: Pod\nmetadata: {name: wrong}\nspec: {containers: [{name: a, image: b, ports: [{containerPort: no}]}]}\n' | kubectl apply -f - --validate=false
printf 'apiVersion: v1\nkind: Thing\nmetadata: {name: unknown}\n' | kubectl apply -f -
kubectl run bad --image= --restart=Never
kubectl run bad --image='not an image' --restart=Never --dry-run=server

## run
kubectl run once --image=registry.k8s.io/e2e-test-images/busybox:1.37.0-1 --restart=Never --command -- sh -c 'exit 4'
kubectl wait --for=jsonpath='{.status.phase}'=Failed pod/once --timeout=60s
kubectl get pod once
kubectl describe pod once | sed -n '/^Containers/,/^Conditions/p'

## unknown-image
kubectl run lost --image=registry.k8s.io/e2e-test-images/nosuch:1 --image-pull-policy=Never --restart=Never
kubectl wait --for=jsonpath='{.status.containerStatuses[0].state.waiting.reason}'=ErrImageNeverPull pod/lost --timeout=60s
kubectl get pod lost
kubectl describe pod lost | sed -n '/^Containers/,/^Conditions/p'

## events
kubectl events --for pod/web -o custom-columns=TYPE:.type,REASON:.reason,FROM:.source.component,MESSAGE:.message
kubectl get events --field-selector involvedObject.name=once -o custom-columns=TYPE:.type,REASON:.reason,FROM:.source.component,OBJECT:.involvedObject.fieldPath,MESSAGE:.message
kubectl get events --field-selector involvedObject.name=lost --no-headers | awk '{print $2, $3, $4}' | sort | uniq
kubectl get events -o wide | head -1

## api-resources
kubectl api-resources

## api-versions
kubectl api-versions

## auth
kubectl auth whoami | grep -e ATTRIBUTE -e masters -e authenticated
kubectl auth can-i list pods
kubectl auth can-i list pods --as system:serviceaccount:clients:default
kubectl auth can-i delete pods --as system:serviceaccount:clients:default
kubectl get secrets --as system:serviceaccount:clients:default
kubectl auth can-i --list --as system:serviceaccount:clients:default

## explain
kubectl explain configmap
kubectl explain pod.spec.restartPolicy

## create-deployment
kubectl create deployment app --image=registry.k8s.io/e2e-test-images/busybox:1.37.0-1 --replicas=2 -- sh -c 'trap "exit 0" TERM; sleep 3600 & wait'
kubectl rollout status deployment app --timeout=60s | tail -1
kubectl get deployment app
kubectl get deployment app -o wide
kubectl get replicasets
kubectl get pods -l app=app --no-headers | awk '{print $1, $2, $3, $4}'

## describe-deployment
kubectl describe deployment app | grep -v -e "^Events" -e deployment-controller -e Type -e ----
kubectl get deployment app -o yaml | sed '/^  annotations/,/^  creation/d'
for manager in kubectl-create kube-controller-manager; do
  kubectl get deployment app --show-managed-fields -o jsonpath="{.metadata.managedFields[?(@.manager==\"$manager\")].fieldsV1}{\"\n\"}"
done
kubectl describe replicaset -l app=app | grep -v replicaset-controller

## scale
kubectl scale deployment app --replicas=3
kubectl scale deployment app --replicas=2 --current-replicas=9
kubectl scale deployment app --replicas=1
kubectl scale deployment nobody --replicas=1
kubectl get deployment app -o jsonpath='{.spec.replicas}{"\n"}'
kubectl get --raw /apis/apps/v1/namespaces/clients/deployments/app/scale | grep -o '"replicas":[0-9]*' | head -1

## autoscale
kubectl autoscale deployment app --min=1 --max=3 --cpu-percent=80 2>&1 | grep -v deprecated
kubectl get hpa app -o jsonpath='{.spec}{"\n"}'
kubectl delete hpa app

## set
kubectl set env deployment app COLOUR=red
kubectl set env deployment app --list
kubectl set image deployment app busybox=registry.k8s.io/e2e-test-images/busybox:1.37.0-1
kubectl set resources deployment app --limits=memory=32Mi --requests=memory=16Mi
kubectl set serviceaccount deployment app default
kubectl set selector service web app=other
kubectl set subject rolebinding reader --serviceaccount=clients:other
kubectl get rolebinding reader -o wide
kubectl set image deployment nobody a=b

## rollout
kubectl rollout status deployment app --timeout=60s | tail -1
kubectl annotate deployment app kubernetes.io/change-cause=noted
until kubectl rollout history deployment app | grep -q noted; do :; done
kubectl rollout history deployment app
kubectl rollout history deployment app --revision=1
kubectl rollout pause deployment app
kubectl rollout pause deployment app
kubectl rollout resume deployment app
kubectl rollout restart deployment app
kubectl rollout status deployment app --timeout=60s | tail -1
kubectl rollout undo deployment app --to-revision=1
kubectl rollout status deployment app --timeout=60s | tail -1
kubectl rollout undo deployment app --to-revision=99
kubectl get deployment app -o jsonpath='{.metadata.generation} {.spec.template.spec.containers[0].env}{"\n"}'

## expose
kubectl expose deployment app --port=80 --target-port=8080 --name=exposed
kubectl get service exposed -o jsonpath='{.spec.ports} {.spec.selector}{"\n"}'
kubectl expose pod web --port=80 --name=web
kubectl describe service exposed | grep -v -e Endpoints -e "^IP"

## attach
kubectl run talker --image=registry.k8s.io/e2e-test-images/busybox:1.37.0-1 --restart=Never --command -- sh -c 'while true; do echo hello; sleep 1; done'
kubectl wait --for=condition=Ready pod/talker --timeout=60s
timeout 5 kubectl attach talker 2>/dev/null | head -1

## copy
echo carried >carried.txt
kubectl cp carried.txt web:/scratch/carried.txt 2>/dev/null
kubectl exec web -- cat /scratch/carried.txt
kubectl cp web:/scratch/carried.txt back.txt 2>/dev/null
cat back.txt

## port-forward
kubectl run server --image=registry.k8s.io/e2e-test-images/agnhost:2.63.0 --port=8080 --restart=Never -- netexec --http-port=8080
kubectl wait --for=condition=Ready pod/server --timeout=60s
timeout 4 kubectl port-forward pod/server 18080:8080 >forwarded.txt 2>&1 &
for i in $(seq 30); do curl -sf http://127.0.0.1:18080/hostname && break; sleep 0.1; done
wait
cat forwarded.txt
timeout 4 kubectl port-forward pod/nobody 18080:8080

## proxy
timeout 4 kubectl proxy --port=18001 >proxied.txt 2>&1 &
for i in $(seq 30); do curl -sf http://127.0.0.1:18001/readyz && break; sleep 0.1; done
curl -s http://127.0.0.1:18001/api/v1/namespaces/clients/pods/server:8080/proxy/hostname
curl -s http://127.0.0.1:18001/api/v1/namespaces/clients/pods/nobody/proxy/
curl -s http://127.0.0.1:18001/api/ | head -3
wait
cat proxied.txt

## top
kubectl top pods
kubectl top nodes

## taint
node=$(kubectl get nodes -o jsonpath='{.items[0].metadata.name}')
kubectl taint nodes $node colour=red:NoSchedule
kubectl taint nodes $node colour=red:NoSchedule
kubectl taint nodes $node colour=blue:NoSchedule --overwrite
kubectl get nodes -o jsonpath='{.items[0].spec.taints}{"\n"}'
kubectl taint nodes $node colour-
kubectl taint nodes $node bad=red:Nothing

## drain
node=$(kubectl get nodes -o jsonpath='{.items[0].metadata.name}')
kubectl cordon $node
kubectl cordon $node
kubectl get nodes --no-headers | awk '{print $2}'
kubectl drain $node --pod-selector=run=talker
kubectl drain $node --pod-selector=run=talker --force --grace-period=1
kubectl uncordon $node
kubectl get pod talker

## certificate
openssl req -new -newkey rsa:2048 -nodes -subj /CN=someone -keyout key.pem -out request.pem 2>/dev/null
for name in wanted unwanted; do
  printf 'apiVersion: certificates.k8s.io/v1\nkind: CertificateSigningRequest\nmetadata: {name: %s}\nspec: {request: %s, signerName: kubernetes.io/kube-apiserver-client, usages: [client auth]}\n' $name $(base64 -w0 request.pem) | kubectl apply -f -
done
kubectl certificate approve wanted
kubectl certificate deny unwanted
kubectl certificate approve unwanted
for i in $(seq 50); do kubectl get csr wanted -o jsonpath='{.status.certificate}' | grep -q . && break; sleep 0.1; done
kubectl get csr wanted unwanted --no-headers | awk '{print $1, $3, $4, $5, $6}'
kubectl get csr wanted -o jsonpath='{.status.certificate}' | base64 -d | openssl x509 -noout -subject
kubectl describe csr unwanted | grep -v -e Creation -e Annotations
kubectl delete csr wanted unwanted

## auth-more
kubectl get role,rolebinding -o yaml | kubectl auth reconcile -f -
printf 'apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: reader, namespace: clients}\nrules: [{apiGroups: [""], resources: [secrets], verbs: [get]}]\n' | kubectl auth reconcile -f -
kubectl get role reader -o jsonpath='{.rules}{"\n"}'
kubectl auth can-i get pods/log
kubectl auth can-i get /healthz
kubectl auth can-i use nothings

## cluster-info
kubectl cluster-info | sed 's/\x1b\[[0-9;]*m//g' | grep -v CoreDNS

## debug
kubectl debug web --image=registry.k8s.io/e2e-test-images/busybox:1.37.0-1 -c looker --profile=general -- sh -c 'echo looked'
kubectl wait --for=jsonpath='{.status.ephemeralContainerStatuses[0].state.terminated.reason}'=Completed pod/web --timeout=60s
kubectl logs web -c looker
# A name is taken once; what else upstream says shows its own Go structures.
kubectl debug web --image=registry.k8s.io/e2e-test-images/busybox:1.37.0-1 -c looker --profile=general -- sh -c 'echo again' 2>&1 | head -1
kubectl debug web --copy-to=copied --set-image=main=registry.k8s.io/e2e-test-images/busybox:1.37.0-1 --profile=general --container=main -- sh -c 'exit 0'
kubectl get pod copied -o jsonpath='{.spec.containers[*].name} {.spec.containers[*].command}{"\n"}'
kubectl delete pod copied --force --grace-period=0

## kustomize
mkdir -p over
printf 'namePrefix: over-\nconfigMapGenerator: [{name: generated, literals: [a=b]}]\n' >over/kustomization.yaml
kubectl kustomize over
kubectl apply -k over
kubectl get configmaps -o name | grep over-
kubectl delete -k over

## replace-force
kubectl get configmap settings -o yaml | kubectl replace --force -f -
printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: nobody}\n' | kubectl replace -f - 2>&1 | sed 's/"[^"]*STDIN[^"]*"/STDIN/'

## create-others
kubectl create quota few --hard=secrets=50
kubectl create role writer --verb=create,update --resource=configmaps
kubectl create rolebinding writer --role=writer --serviceaccount=clients:default
kubectl create clusterrole clients-all --verb=get --non-resource-url=/logs
kubectl create clusterrolebinding clients-all --clusterrole=clients-all --user=someone
kubectl create serviceaccount worker
kubectl create service clusterip plain --tcp=80:8080
kubectl create service externalname named --external-name=example.com
kubectl create service nodeport open --tcp=80:8080
kubectl create poddisruptionbudget budget --selector=app=app --min-available=1
kubectl create priorityclass clients-high --value=1000 --description=high
kubectl create ingress entry --rule="example.com/*=web:80"
kubectl create cronjob nightly --image=registry.k8s.io/e2e-test-images/busybox:1.37.0-1 --schedule='0 0 1 1 *' -- true
kubectl create job again --from=cronjob/nightly
kubectl wait --for=condition=Complete job/again --timeout=60s
kubectl create job failing --image=registry.k8s.io/e2e-test-images/busybox:1.37.0-1 -- false
kubectl create token worker | grep -c '^ey'
kubectl create role bad --verb=get --resource=nothings
kubectl get quota,serviceaccounts,ingress,cronjobs,jobs,pdb
kubectl get services
kubectl get services open -o jsonpath='{.spec.type} {.spec.ports[0].targetPort}{"\n"}'
kubectl describe quota few
kubectl describe ingress entry | grep -v Address
kubectl describe cronjob nightly | grep -v -e "^Events" -e cronjob-controller -e Type -e ----
kubectl describe job again | grep -v -e "^Events" -e job-controller -e Type -e ---- -e Duration -e uid
kubectl describe pdb budget
kubectl describe priorityclass clients-high
kubectl delete clusterrole/clients-all clusterrolebinding/clients-all priorityclass/clients-high

## custom-resources
printf 'apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: things.clients.example.com}\nspec: {group: clients.example.com, scope: Namespaced, names: {plural: things, singular: thing, kind: Thing, shortNames: [th], listKind: ThingList}, versions: [{name: v1, served: true, storage: true, subresources: {status: {}}, additionalPrinterColumns: [{name: Size, type: integer, jsonPath: .spec.size}], schema: {openAPIV3Schema: {type: object, description: A thing., properties: {spec: {type: object, properties: {size: {type: integer, minimum: 1, description: How large.}, colour: {type: string, default: blue}}}, status: {type: object, x-kubernetes-preserve-unknown-fields: true}}}}}]}\n' | kubectl apply -f -
kubectl wait --for=condition=Established crd/things.clients.example.com --timeout=30s
for i in $(seq 50); do kubectl get things >/dev/null 2>&1 && break; sleep 0.1; done
printf 'apiVersion: clients.example.com/v1\nkind: Thing\nmetadata: {name: small}\nspec: {size: 1}\n' >thing.yaml
kubectl apply -f thing.yaml
kubectl apply -f thing.yaml --server-side --force-conflicts
sed 's/size: 1/size: 0/' thing.yaml | kubectl apply -f - 2>&1 | sed 's/"[^"]*STDIN[^"]*"/STDIN/'
sed 's/size: 1/sise: 1/' thing.yaml | kubectl apply -f - 2>&1 | sed 's/"[^"]*STDIN[^"]*"/STDIN/'
kubectl get th
kubectl get thing small -o yaml --show-managed-fields
kubectl describe thing small
kubectl patch thing small --type=merge -p '{"spec":{"size":7}}'
kubectl patch thing small --subresource=status --type=merge -p '{"status":{"seen":true}}'
kubectl get thing small -o jsonpath='{.spec} {.status} {.metadata.generation}{"\n"}'
kubectl get crd things.clients.example.com | sed 's/  *[^ ]*$//'
kubectl api-resources --api-group=clients.example.com
for i in $(seq 100); do kubectl explain thing.spec >/dev/null 2>&1 && break; sleep 0.1; done
kubectl explain thing.spec
kubectl delete thing small
kubectl delete crd things.clients.example.com

## raw
kubectl get --raw /api
kubectl get --raw /version | grep -c gitVersion
kubectl get --raw /apis/nothing
kubectl get --raw /healthz

## cluster-roles
kubectl get clusterroles --no-headers | awk '{print $1}'
kubectl get clusterrolebindings --no-headers | awk '{print $1}'

## delete
kubectl delete deployment,job --all
kubectl delete cronjob --all
for i in $(seq 100); do kubectl get pods -l app=app -o name | grep -q . || break; sleep 0.1; done
kubectl delete configmap made settings
kubectl delete pod web
kubectl delete pod nobody
kubectl delete pod nobody --ignore-not-found
kubectl delete pods --all --force
kubectl delete -f objects.yaml --ignore-not-found
kubectl get pods

## delete-namespace
kubectl delete namespace clients --timeout=60s
kubectl get namespace clients
